"""What all checkers share: answers become numbers, mistakes are found in order, and everything else gets a sentence."""

import numpy as np
import pytest
import torch

from climax_lite.check.answers import array, either, expect, first, numbers, random, same, tensor
from climax_lite.check.verdict import Stop, right, wrong

OTHERWISE = wrong("Something else.", "hint")


def stopped(function, *args, **kwargs):
    with pytest.raises(Stop) as stop:
        function(*args, **kwargs)
    return stop.value.verdict


@pytest.mark.parametrize("answer", [torch.ones(2, requires_grad=True), np.ones(2, "float32"), [1, 1.0], (1, True)])
def test_whatever_holds_numbers_is_read(answer):
    assert numbers(answer).tolist() == [1, 1]
    assert numbers(answer).dtype == np.float64
    assert torch.equal(tensor(answer, (2,), "two numbers"), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize(
    "answer", ["text", {}, [[1], [1, 2]], object(), [None, 1], np.ones(3) * 1j, torch.ones(3) * 1j]
)
def test_another_kind_is_named(answer):
    assert (
        f"Expected three numbers, got {type(answer).__name__}."
        in stopped(array, answer, (3,), "three numbers").sentence
    )


def test_shapes():
    x = np.zeros((2, 3))
    assert array(x, (2, 3), "a map").shape == array(x, (None, 3), "a map").shape == array(x, None, "a map").shape
    assert stopped(array, x, (3, 2), "a map", "Turn it.").sentence == "Expected a map: shape (3, 2), got (2, 3)."
    assert stopped(array, x, (3, 2), "a map", "Turn it.").hint == "Turn it."
    assert "shape (any,), got (2, 3)" in stopped(array, x, (None,), "a row").sentence


def test_nan_passes_unless_it_is_asked():
    assert np.isnan(array(float("nan"), (), "one number"))
    verdict = stopped(array, [1, np.inf], (2,), "two numbers", finite="Is something divided by zero?")
    assert verdict.sentence == "Your answer holds NaN or infinity."
    assert verdict.hint == "Is something divided by zero?"


def test_same_means_shape_and_numbers():
    assert same([1, np.nan], torch.tensor([1.00001, float("nan")]))
    assert not same([1.0], 1.0)
    assert not same([1.0], [1.001])
    assert same([1.0], [1.001], rtol=0.01)
    assert not same([1e-7], [0], atol=1e-9)


def test_a_mistake_is_a_value_a_test_or_a_bool():
    given = np.array([1.0, 2.0])
    for made in ([1, 2], lambda g: g[1] == 2, np.True_, True, either(3, [1, 2])):
        assert first([(0, "no", ""), (made, "yes", "hint")], OTHERWISE, given).sentence == "yes"
    for made in ([2, 1], lambda g: g[1] == 3, np.False_, False, either(3, [2, 1])):
        assert first([(made, "yes", "")], OTHERWISE, given) is OTHERWISE
    assert first([(True, "one", ""), (True, "two", "")], OTHERWISE).sentence == "one"
    assert first([], right("Right.")).ok


def test_expect_lets_the_right_answer_pass_and_names_the_rest():
    known = [([1, 1, 1], "All three, not two.", "Which two?"), (lambda g: g.max() > 9, "Too large.", "")]
    assert expect([1, 2], np.array([1, 2]), known, "No.").tolist() == [1, 2]
    for answer, sentence in {
        (1, 1, 1): "All three, not two.",
        (10, 1): "Too large.",
        (2, 1): "No.",
        (1, 2, 3): "Expected two numbers: shape (2,), got (3,).",
        "text": "Expected two numbers, got str.",
    }.items():
        assert stopped(expect, answer, [1, 2], known, "No.", "Why?", "two numbers").sentence == sentence


def test_random_numbers_are_the_same_every_time():
    assert torch.equal(random(3, 2, seed=1), random(3, 2, seed=1))
    assert not torch.equal(random(3), random(3, seed=1))
    assert random(3).dtype == torch.float64
