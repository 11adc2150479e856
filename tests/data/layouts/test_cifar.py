"""CIFAR-10 and CIFAR-100 in both of their versions."""

from pathlib import Path

import numpy as np
import pytest

from patchwise.data.layouts.cifar import open_cifar10, open_cifar100
from patchwise.data.source import LabelledArrays
from patchwise.errors import DataError
from tests.data.layouts.trees import CIFAR10, CIFAR100, cifar_pixels, make_cifar10, make_cifar100
from tests.data.python2 import pickled

VERSIONS = pytest.mark.parametrize("binary", [False, True], ids=["python", "binary"])


def check_pixels(part: LabelledArrays, index: int, row: np.ndarray) -> None:
    """The definition: 1,024 reds, then greens, then blues, each row by row."""
    image = part.read(index)
    assert image.shape == (32, 32, 3)
    for y, x, channel in ((0, 0, 0), (0, 1, 0), (1, 0, 1), (31, 30, 2)):
        assert image[y, x, channel] == row[1024 * channel + 32 * y + x]


@VERSIONS
def test_cifar10_is_five_files_and_one(tmp_path: Path, binary: bool) -> None:
    fit, test = open_cifar10(make_cifar10(tmp_path, binary=binary))
    assert (len(fit), len(test)) == (15, 3)
    assert fit.classes == test.classes == CIFAR10
    assert fit.labels.tolist() == [*range(10), *range(5)]
    assert test.labels.tolist() == [5, 6, 7]
    check_pixels(fit, 4, cifar_pixels("data_batch_2", 3)[1])
    check_pixels(test, 2, cifar_pixels("test_batch", 3)[2])


@VERSIONS
def test_cifar100_has_its_fine_classes(tmp_path: Path, binary: bool) -> None:
    fit, test = open_cifar100(make_cifar100(tmp_path, binary=binary))
    assert fit.classes == test.classes == CIFAR100
    assert fit.labels.tolist() == [99, 0, 50]
    assert test.labels.tolist() == [50, 1]
    check_pixels(fit, 2, cifar_pixels("train", 3)[2])


@pytest.mark.parametrize("hundred", [False, True])
def test_both_versions_are_the_same_data(tmp_path: Path, hundred: bool) -> None:
    make, read = (make_cifar100, open_cifar100) if hundred else (make_cifar10, open_cifar10)
    python, binary = read(make(tmp_path / "a")), read(make(tmp_path / "b", binary=True))
    for one, other in zip(python, binary, strict=True):
        assert one.fingerprint() == other.fingerprint()
        assert one.classes == other.classes
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.bad_input
@VERSIONS
@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_missing_files_are_named(tmp_path: Path, binary: bool, name: str) -> None:
    root = make_cifar10(tmp_path, binary=binary)
    ending = (".txt" if name == "batches.meta" else ".bin") if binary else ""
    (root / f"{name}{ending}").unlink()
    missing = f"{name}{'.txt' if ending and name == 'batches.meta' else ''}"
    with pytest.raises(DataError, match=rf"must hold data_batch_1.* to be CIFAR-10.*{missing}"):
        open_cifar10(root)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([], r"must hold data, rows of 3072 bytes, and labels, a number for each, got list"),
        ({"data": 1}, r"must hold data, .*, got data$"),
        ({"data": cifar_pixels("", 2), "labels": [1]}, r"got data, labels"),
        ({"data": cifar_pixels("", 2), "fine_labels": [1, 2]}, r"got data, fine_labels"),
        ({"data": cifar_pixels("", 2), "labels": [1, "2"]}, r"got data, labels"),
        ({"data": cifar_pixels("", 2), "labels": [1, True]}, r"got data, labels"),
        ({"data": cifar_pixels("", 2)[:, 1:], "labels": [1, 2]}, r"got data, labels"),
        ({"data": cifar_pixels("", 2).ravel(), "labels": [1] * 6144}, r"got data, labels"),
        ({"data": cifar_pixels("", 2).astype("i4"), "labels": [1, 2]}, r"got data, labels"),
        ({"data": cifar_pixels("", 0), "labels": []}, r"got data, labels"),
        ({"data": cifar_pixels("", 2), "labels": [1, 10]}, r"must lie in \[0, 10\), got 10"),
        ({"data": cifar_pixels("", 2), "labels": [-1, 1]}, r"must lie in \[0, 10\), got -1"),
    ],
)
def test_wrong_batches_are_named(tmp_path: Path, batch: object, message: str) -> None:
    (make_cifar10(tmp_path) / "data_batch_4").write_bytes(pickled(batch))
    with pytest.raises(DataError, match=rf"data_batch_4' .*{message}"):
        open_cifar10(tmp_path)


@pytest.mark.bad_input
def test_a_batch_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = make_cifar10(tmp_path / "a") / "test_batch"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"test_batch' must be a pickle of numbers"):
        open_cifar10(tmp_path / "a")
    path = make_cifar100(tmp_path / "b", binary=True) / "test.bin"
    for content in (path.read_bytes()[:-1], b""):
        path.write_bytes(content)
        message = rf"test.bin' must have 3074 bytes for each image, got {len(content)} bytes"
        with pytest.raises(DataError, match=message):
            open_cifar100(tmp_path / "b")


@pytest.mark.bad_input
@pytest.mark.parametrize("names", [None, CIFAR10[:9], (*CIFAR10[:9], CIFAR10[0])])
@VERSIONS
def test_names_of_classes_are_counted(
    tmp_path: Path, names: tuple[str, ...] | None, binary: bool
) -> None:
    root = make_cifar10(tmp_path, binary=binary)
    meta: object = None if names is None else {"label_names": list(names)}
    (root / "batches.meta").write_bytes(pickled(meta))
    (root / "batches.meta.txt").write_text("\n".join(names or ()))
    message = rf"batches.meta.*' must name the 10 classes of CIFAR-10, got {len(names or ())} names"
    with pytest.raises(DataError, match=message):
        open_cifar10(root)


@pytest.mark.bad_input
def test_labels_of_the_binary_version_are_checked(tmp_path: Path) -> None:
    path = make_cifar10(tmp_path, binary=True) / "data_batch_1.bin"
    content = bytearray(path.read_bytes())
    content[3073] = 10
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"data_batch_1.bin' must lie in \[0, 10\), got 10"):
        open_cifar10(tmp_path)
