"""How far an embedding is."""

from patchwise.features.progress import ImageProgress


def test_it_says_now_and_then_how_fast_and_how_long() -> None:
    heard: list[str] = []
    now = 100.0
    progress = ImageProgress(heard.append, total=4000, done=1000, clock=lambda: now)
    progress.show(1000)
    now = 104.0
    progress.show(1040)
    assert not heard
    now = 110.0
    progress.show(1100)
    progress.show(1200)
    assert heard == ["embedded 1100 of 4000 images, 10.0 images/s, 0:04:50 left"]
    now = 120.0
    progress.show(1200)
    assert heard[1] == "embedded 1200 of 4000 images, 10.0 images/s, 0:04:40 left"
    now = 3700.0
    progress.end(4000)
    assert heard[2] == "embedded 3000 images in 1:00:00, 0.8 images/s"


def test_nothing_new_has_no_speed() -> None:
    heard: list[str] = []
    now = 0.0
    progress = ImageProgress(heard.append, total=10, done=5, clock=lambda: now)
    now = 60.0
    progress.show(5)
    assert not heard
    progress.end(5)
    assert heard == ["embedded 0 images in 0:01:00, 0.0 images/s"]
