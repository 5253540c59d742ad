"""The spherical transform, against dinosaur's own and against a field whose coefficients are known. Needs the extra `simulate`."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
pytest.importorskip("jcm", reason="needs the extra 'simulate'")

from jcm.physics.speedy.speedy_coords import get_speedy_coords

from tools.simulate.transform import levelwise

THEIRS = get_speedy_coords(layers=8, spectral_truncation=21)
OURS = levelwise(THEIRS)


def test_only_the_transform_is_another():
    assert OURS.vertical == THEIRS.vertical
    assert OURS.horizontal.nodal_shape == THEIRS.horizontal.nodal_shape == (64, 32)
    for ours, theirs in zip(OURS.horizontal.modal_axes, THEIRS.horizontal.modal_axes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("lead", [(), (1,), (8,), (2, 3)])
def test_sums_are_those_of_dinosaur(lead):
    rng = np.random.default_rng(4)
    field = rng.normal(size=(*lead, 64, 32)).astype("float32")
    theirs = np.asarray(THEIRS.horizontal.to_modal(field))
    np.testing.assert_allclose(OURS.horizontal.to_modal(field), theirs, atol=2e-6 * abs(theirs).max())
    back = np.asarray(THEIRS.horizontal.to_nodal(theirs))
    np.testing.assert_allclose(OURS.horizontal.to_nodal(theirs), back, atol=2e-6 * abs(back).max())


def test_the_sine_of_latitude_is_one_harmonic():
    # Of unit norm on the sphere: Y(m=0, l=1) = sqrt(3 / 4π) sin φ.
    sine = np.broadcast_to(OURS.horizontal.nodal_axes[1], (64, 32)).astype("float32")
    got = np.asarray(OURS.horizontal.to_modal(sine))
    expected = np.zeros_like(got)
    expected[0, 1] = np.sqrt(4 * np.pi / 3)
    np.testing.assert_allclose(got, expected, atol=1e-6)
