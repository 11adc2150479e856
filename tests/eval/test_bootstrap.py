"""Intervals over images: against scipy, and where they are known."""

import numpy as np
import pytest
import torch
from scipy import stats

from patchwise.eval.bootstrap import bootstrap, share, shares_of_images


def test_it_is_scipys_percentile_interval() -> None:
    right = torch.from_numpy(np.random.default_rng(0).random(400) < 0.7)
    counts = shares_of_images(right, torch.arange(400), images=400)
    found = bootstrap(counts, share)
    other = stats.bootstrap(
        (right.double().numpy(),), np.mean, method="percentile", n_resamples=4000, rng=1
    ).confidence_interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.006)
    assert found.low < float(right.double().mean()) < found.high


def test_queries_of_one_image_go_together() -> None:
    # Ten images of which each is all right or all wrong say less than a hundred alone.
    image = torch.arange(10).repeat_interleave(10)
    right = (image % 2).bool()
    together = bootstrap(shares_of_images(right, image, images=10), share)
    alone = bootstrap(shares_of_images(right, torch.arange(100), images=100), share)
    assert together is not None
    assert alone is not None
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_the_same_seed_draws_the_same() -> None:
    counts = shares_of_images(torch.arange(50) % 3 == 0, torch.arange(50), images=50)
    assert bootstrap(counts, share, seed=1) == bootstrap(counts, share, seed=1)
    assert bootstrap(counts, share, seed=1) != bootstrap(counts, share, seed=2)


def test_images_that_are_all_alike_leave_no_doubt() -> None:
    interval = bootstrap(torch.tensor([[3, 4]] * 6), share)
    assert interval is not None
    assert interval.low == interval.high == 0.75


def test_draws_without_a_score_do_not_count() -> None:
    interval = bootstrap(torch.tensor([[0, 0], [0, 0], [1, 2]]), share)
    assert interval is not None
    assert interval.low == interval.high == 0.5
    assert bootstrap(torch.zeros(4, 2), share) is None


def test_one_image_says_nothing() -> None:
    assert bootstrap(torch.tensor([[1, 2]]), share) is None
