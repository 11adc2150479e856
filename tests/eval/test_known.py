"""What is known of a difference is said once."""

from patchwise.eval.known import known_consequences


def test_the_size_of_masks_is_known_to_count() -> None:
    (sentence,) = known_consequences(["setting label_px", "setting test_px"])
    assert "41.8" in sentence
    assert "47.7" in sentence


def test_every_trap_has_its_own_sentence() -> None:
    whats = ["setting label_px", "matching of clusters", "setting clusters", "classes",
             "test images", "setting memory", "chosen"]  # fmt: skip
    assert len(set(known_consequences(whats))) == len(whats)


def test_nothing_is_made_up() -> None:
    assert known_consequences(["torch", "weights", "setting unheard_of"]) == []
