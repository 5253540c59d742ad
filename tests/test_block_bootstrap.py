"""The spread of a mean score: values derived by hand, and what it refuses."""

import numpy as np
import pytest

from climax_lite.metrics import block_bootstrap


def test_blocks_that_cancel_leave_no_spread():
    assert block_bootstrap(np.tile([1.0, -1.0], 20), 2) == (0.0, 0.0)


def test_one_block_is_the_series():
    assert block_bootstrap([1.0, 2.0, 6.0], 3) == (3.0, 3.0)


def test_single_draws_of_independent_scores_give_the_standard_error():
    scores = np.random.default_rng(0).normal(size=400)
    low, high = block_bootstrap(scores, 1, 4000)
    assert high - low == pytest.approx(2 * 1.96 * scores.std() / 20, rel=0.05)


def test_memory_widens_the_interval_as_theory_has_it():
    draw, memory = np.random.default_rng(1), 0.8
    x = np.zeros(5000)
    for t in range(1, len(x)):
        x[t] = memory * x[t - 1] + draw.normal()
    single, blocks = (np.ptp(block_bootstrap(x, b)) for b in (1, 100))
    # the variance of a mean of first-order red noise is (1 + ρ) / (1 - ρ) times that of independent values
    assert blocks / single == pytest.approx(np.sqrt(1.8 / 0.2), rel=0.15)


def test_a_seed_fixes_it_and_another_changes_it():
    scores = np.arange(30.0)
    a, b, c = (block_bootstrap(scores, 4, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert a == b != c
    assert block_bootstrap(scores, 4) == block_bootstrap(scores, 4)


@pytest.mark.parametrize(
    ("scores", "block", "message"),
    [
        (np.ones((3, 2)), 1, r"shape \(3, 2\)"),
        ([], 1, r"shape \(0,\)"),
        ([1.0, np.nan], 1, "finite"),
        ([1.0, 2.0], 3, "a block of 1 to 2 scores, got 3"),
        ([1.0, 2.0], 0, "got 0"),
    ],
)
def test_what_it_refuses(scores, block, message):
    with pytest.raises(ValueError, match=message):
        block_bootstrap(scores, block)
