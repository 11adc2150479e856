"""What is known to come of differences between protocols: one sentence each."""

from collections.abc import Iterable

_RESOLUTION = (
    "The size at which masks are compared moves the score by itself: the same weights have 41.8 "
    "mIoU on ADE20K at 100 x 100 pixels and 47.7 at full size (Franca repository, issue 2)."
)
_MATCHING = (
    "Matching predicted to true classes by the labels that are scored can only raise a score, and "
    "raises that of bad features most; a popular in-context re-implementation does so by default."
)
_CLUSTERS = (
    "With each cluster given the class of most of its pixels, more clusters score higher, whatever "
    "the features are."
)
_CLASSES = (
    "Means over other classes are other numbers: ADE20K is scored with 150 classes or with 151, "
    "COCO-Stuff with 15, 27 or 171."
)
_TEST = (
    "A score of some of the test images is not that of all: Leopart's scores from within training "
    "are of the first 8 batches."
)
_MEMORY = (
    "In-context scores grow with the memory: DINO ViT-S/16 is listed for VOC with 37.2, 43.1 and "
    "46.6 mIoU at 1024 x 100, 1024 x 1,000 and 1024 x 10,000 patches (open-hummingbird-eval)."
)
_CHOSEN = (
    "What is chosen on the images that are scored flatters the score; published numbers are often "
    "those of the best epoch."
)
_OF: dict[str, str] = {
    "setting label_px": _RESOLUTION,
    "setting native_labels": _RESOLUTION,
    "setting test_px": _RESOLUTION,
    "setting size_px": _RESOLUTION,
    "matching of clusters": _MATCHING,
    "setting clusters": _CLUSTERS,
    "classes": _CLASSES,
    "test images": _TEST,
    "setting memory": _MEMORY,
    "setting fraction": _MEMORY,
    "chosen": _CHOSEN,
}


def known_consequences(differences: Iterable[str]) -> list[str]:
    """Return what is known of differences, each sentence once."""
    return list(dict.fromkeys(_OF[what] for what in differences if what in _OF))
