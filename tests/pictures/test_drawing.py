"""What is drawn is where it was asked for, and nothing else changes."""

import numpy as np

from patchwise.pictures.drawing import cut, fit, frame, patch_map, resize, tag, veil

WHITE = np.full((40, 60, 3), 255, dtype=np.uint8)


def test_much_enlarged_images_keep_their_squares() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    assert (resize(pixels, 16, 16)[::4, ::4] == pixels).all()
    assert len(np.unique(resize(pixels, 16, 16).reshape(-1, 3), axis=0)) <= 16


def test_fit_keeps_the_aspect() -> None:
    pixels, factor = fit(WHITE, 30)
    assert pixels.shape == (20, 30, 3)
    assert factor == 0.5


def test_a_patch_map_has_a_flat_square_for_each_patch() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    drawn = patch_map(colours, least_px=12)
    assert drawn.shape == (9, 15, 3)
    for row in range(3):
        for column in range(5):
            assert (drawn[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
                    == colours[row, column]).all()  # fmt: skip


def test_a_frame_is_on_the_edge_of_its_box() -> None:
    drawn = frame(WHITE, (10, 20, 15, 25), "#ff0000", width_px=2)
    assert drawn[10, 20].tolist() == [255, 0, 0]
    assert drawn[24, 44].tolist() == [255, 0, 0]
    assert (drawn[14:21, 24:41] == 255).all()
    assert (drawn[:8] == 255).all()
    assert (WHITE == 255).all(), "the image that was given is left alone"


def test_a_tag_is_round_its_point_and_stays_inside() -> None:
    drawn = tag(WHITE, (20, 30), "7", "#0000ff", 16)
    changed = np.argwhere((drawn != 255).any(axis=2))
    assert np.abs(changed.mean(axis=0) - (20, 30)).max() < 1
    at_corner = tag(WHITE, (0, 60), "7", "#0000ff", 16)
    changed = np.argwhere((at_corner != 255).any(axis=2))
    assert changed.min(axis=0).tolist() == [0, 60 - 1 - (changed[:, 1].max() - changed[:, 1].min())]


def test_tags_of_different_texts_differ() -> None:
    drawn = [tag(WHITE, (20, 30), text, "#f0e442", 20) for text in "123456789"]
    assert len({pixels.tobytes() for pixels in drawn}) == 9


def test_a_veil_darkens_the_patches_that_are_not_kept() -> None:
    kept = np.array([[True, False, True], [False, False, True]])
    drawn = veil(WHITE, kept, light=0.5)
    for row in range(2):
        for column in range(3):
            patch = drawn[20 * row : 20 * row + 20, 20 * column : 20 * column + 20]
            assert (patch == (255 if kept[row, column] else 127)).all()


def test_cut_takes_top_left_height_width() -> None:
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    assert (cut(pixels, (1, 2, 3, 2)) == pixels[1:4, 2:4]).all()
