"""ADE20K as in the scene parsing challenge: 150 classes."""

from pathlib import Path

from patchwise.data.class_list import official_classes
from patchwise.data.label_files import LabelledFolder, Parts, open_matched

# The first name of each in the challenge's objectInfo150.txt, in its order.
CLASSES = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass",
    "cabinet", "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain",
    "chair", "car", "water", "painting", "sofa", "shelf", "house", "sea", "mirror", "rug",
    "field", "armchair", "seat", "fence", "desk", "rock", "wardrobe", "lamp", "bathtub",
    "railing", "cushion", "base", "box", "column", "signboard", "chest of drawers", "counter",
    "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand", "path", "stairs",
    "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge",
    "bookcase", "blind", "coffee table", "toilet", "flower", "book", "hill", "bench",
    "countertop", "stove", "palm", "kitchen island", "computer", "swivel chair", "boat", "bar",
    "arcade machine", "hovel", "bus", "towel", "light", "truck", "tower", "chandelier",
    "awning", "streetlight", "booth", "television", "airplane", "dirt track", "apparel", "pole",
    "land", "bannister", "escalator", "ottoman", "bottle", "buffet", "poster", "stage", "van",
    "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything", "swimming pool",
    "stool", "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven",
    "ball", "food", "step", "tank", "trade name", "microwave", "pot", "animal", "bicycle",
    "lake", "dishwasher", "screen", "blanket", "sculpture", "hood", "sconce", "vase",
    "traffic light", "tray", "ashcan", "fan", "pier", "crt screen", "plate", "monitor",
    "bulletin board", "shower", "radiator", "glass", "clock", "flag",
)  # fmt: skip


def open_ade20k(root: Path) -> Parts:
    """Open ``images/training``, ``images/validation``, ``annotations/training`` and so on.

    A class is its label less 1; 0, which is everything else, is ignored. (Some projects count it
    as a class of its own, some do not: the numbers differ.)

    Source: Zhou et al. 2017, "Scene parsing through ADE20K dataset", and its ADEChallengeData2016.

    Raises:
        DataError: Something is missing or wrong.
    """
    classes = official_classes(
        CLASSES,
        {place + 1: place for place in range(len(CLASSES))},
        [0],
        parts=("training", "validation"),
    )

    def open_part(part: str) -> LabelledFolder:
        images, labels = root / "images" / part, root / "annotations" / part
        return open_matched(images, labels, classes, endings=(".jpg", ".png"))

    return Parts("ADE20K", classes, open_part(classes.fit), open_part(classes.test))
