"""COCO-Stuff's 182 labels, which are 27 classes: derived here once more, by their names."""

from pathlib import Path

import numpy as np
import pytest

from patchwise.data.class_list import IGNORED
from patchwise.data.layouts.coco_stuff import CLASSES, open_coco_stuff_27
from patchwise.errors import DataError
from tests.data.layouts.trees import ALL_BYTES, label_with, make_coco_stuff, save_label, save_list

# Names of the label values 0, 1, ... in COCO-Stuff's labels.txt, which counts them from 1.
THINGS = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
fire hydrant, street sign, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow,
elephant, bear, zebra, giraffe, hat, backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase,
frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich,
orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, mirror,
dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell phone,
microwave, oven, toaster, sink, refrigerator, blender, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush, hair brush"""
STUFF = """banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet,
ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt,
door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog,
food-other, fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat,
metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other,
plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea,
shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table,
tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel,
wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood"""
# Its hierarchy; things first, then stuff, in the order of IIC, PiCIE and STEGO.
HIERARCHY = {
    "electronic": "tv, laptop, mouse, remote, keyboard, cell phone",
    "appliance": "microwave, oven, toaster, sink, refrigerator, blender",
    "food": "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake",
    "furniture": "chair, couch, potted plant, bed, mirror, dining table, window, desk, toilet, "
    "door",
    "indoor": "book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush",
    "kitchen": "bottle, plate, wine glass, cup, fork, knife, spoon, bowl",
    "accessory": "hat, backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase",
    "animal": "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe",
    "outdoor": "traffic light, fire hydrant, street sign, stop sign, parking meter, bench",
    "person": "person",
    "sports": "frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, "
    "skateboard, surfboard, tennis racket",
    "vehicle": "bicycle, car, motorcycle, airplane, bus, train, truck, boat",
    "ceiling": "ceiling-tile, ceiling-other",
    "floor": "carpet, floor-tile, floor-wood, floor-marble, floor-stone, floor-other",
    "food stuff": "fruit, salad, vegetable, food-other",
    "furniture stuff": "door-stuff, desk-stuff, table, shelf, cabinet, cupboard, mirror-stuff, "
    "counter, light, stairs, furniture-other",
    "raw material": "cardboard, paper, plastic, metal",
    "textile": "rug, mat, towel, napkin, clothes, cloth, curtain, blanket, pillow, banner, "
    "textile-other",
    "wall": "wall-tile, wall-panel, wall-wood, wall-brick, wall-stone, wall-concrete, wall-other",
    "window": "window-blind, window-other",
    "building": "house, skyscraper, bridge, tent, roof, building-other",
    "ground": "sand, snow, dirt, mud, gravel, road, pavement, railroad, platform, playingfield, "
    "ground-other",
    "plant": "grass, tree, bush, leaves, flower, branch, moss, straw, plant-other",
    "sky": "clouds, sky-other",
    "solid": "wood, rock, stone, mountain, hill, solid-other",
    "structural": "fence, cage, net, railing, structural-other",
    "water": "fog, river, sea, waterdrops, water-other",
}


def split(text: str) -> list[str]:
    return text.replace("\n", " ").split(", ")


def test_the_map_is_that_of_the_hierarchy(tmp_path: Path) -> None:
    names = split(THINGS) + split(STUFF)
    assert len(names) == len(set(names)) == 182
    class_of = {name: place for place, group in enumerate(HIERARCHY.values())
                for name in split(group)}  # fmt: skip
    assert class_of.keys() == set(names)
    classes = open_coco_stuff_27(make_coco_stuff(tmp_path)).classes
    assert classes.lookup[:182] == tuple(class_of[name] for name in names)
    assert set(classes.lookup[182:255]) == {-1}
    assert classes.lookup[255] == IGNORED
    assert classes.names == tuple(HIERARCHY)


def test_things_are_twelve_classes_and_stuff_fifteen() -> None:
    values = [value for members in CLASSES.values() for value in members]
    assert sorted(values) == list(range(182))
    first, last = list(CLASSES.values())[:12], list(CLASSES.values())[12:]
    assert {value for members in first for value in members} == set(range(91))
    assert len(last) == 15


def test_images_are_those_of_the_lists_in_their_order(tmp_path: Path) -> None:
    parts = open_coco_stuff_27(make_coco_stuff(tmp_path))
    assert parts.fit.names == ("000000000030.png", "000000000025.png")
    assert parts.test.names == ("000000000030.png",)
    assert parts.name == "COCO-Stuff-27 (Coco164kFull_Stuff_Coarse, Coco164kFull_Stuff_Coarse_7)"
    np.testing.assert_array_equal(parts.fit.read(1)[1], label_with(9, 24, IGNORED, 17))
    assert parts.classes.background is None
    assert parts.classes.scored == tuple(range(27))


@pytest.mark.bad_input
def test_unknown_values_are_refused_and_not_class_0(tmp_path: Path) -> None:
    path = make_coco_stuff(tmp_path) / "annotations/val2017/000000000030.png"
    save_label(path, ALL_BYTES)
    with pytest.raises(DataError, match=r"got \[182, 183, .*; these labels have 0 to 181, 255$"):
        open_coco_stuff_27(tmp_path).test.read(0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "listed",
    ["train2017/Coco164kFull_Stuff_Coarse.txt", "val2017/Coco164kFull_Stuff_Coarse_7.txt"],
)
def test_a_missing_or_empty_list_is_named(tmp_path: Path, listed: str) -> None:
    path = make_coco_stuff(tmp_path) / "curated" / listed
    path.unlink()
    with pytest.raises(DataError, match=rf"'{path}' must be a list of images, one a line, got No"):
        open_coco_stuff_27(tmp_path)
    save_list(path)
    with pytest.raises(DataError, match=rf"'{path}' must name at least one image"):
        open_coco_stuff_27(tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["images", "annotations"])
def test_a_missing_file_is_named(tmp_path: Path, kind: str) -> None:
    folder = make_coco_stuff(tmp_path) / kind / "train2017"
    next(folder.glob("000000000025.*")).unlink()
    message = rf"'{folder}' must hold the 2 files .*Coarse.txt', got all but 1, such as '0000000000"
    with pytest.raises(DataError, match=message):
        open_coco_stuff_27(tmp_path)
