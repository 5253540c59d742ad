"""Predictions and loss equal the official model's (`golden/*.npz`, made with microsoft/ClimaX at commit 6d5d354)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from climax_lite.metrics import latitude_weighted_mse
from climax_lite.model import ClimaX, from_official
from climax_lite.model.embed import interpolate_positions

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = ("climax", "climax_parallel_tokens", "climax_64x128_patch4", "climax_regional", "climax_projection")
TOLERANCE = 2e-6  # of the largest value; float32 rounding is a tenth of it


class Golden:
    def __init__(self, name: str) -> None:
        self.data = np.load(GOLDEN / f"{name}.npz")
        self.config = json.loads(str(self.data["config"]))
        self.state = {k.removeprefix("state/"): torch.tensor(self.data[k]) for k in self.data if k.startswith("state/")}
        self.variables = tuple(self.config.get("variables", self.config["default_vars"]))
        self.out_variables = tuple(self.config.get("out_variables", self.config.get("out_vars")))
        self.patch_ids = self.data["patch_ids"].tolist() if "patch_ids" in self.data else None

    def __getitem__(self, key: str) -> torch.Tensor:
        return torch.tensor(self.data[key])

    def network(self, **config) -> ClimaX:
        names, heads = self.config["default_vars"], self.config["num_heads"]
        return from_official(self.state, names, heads, out_variables=self.config.get("out_vars"), **config).eval()

    def predict(self, net: ClimaX) -> torch.Tensor:
        with torch.no_grad():
            return net(self["x"], 100 * self["lead_times"], self.variables, self.out_variables, self.patch_ids)


@pytest.fixture(params=FILES)
def golden(request):
    return Golden(request.param)


def assert_equal(got, expected):
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) <= TOLERANCE * float(expected.abs().max())


@pytest.mark.parametrize("encoder", ["reference", "folded"])
def test_predictions(golden, encoder):
    assert_equal(golden.predict(golden.network(encoder=encoder)), golden["pred"])


@pytest.mark.parametrize("encoder", ["reference", "folded"])
@pytest.mark.parametrize("name", ["climax", "climax_parallel_tokens"])
def test_the_tokens_after_the_backbone(name, encoder):
    golden = Golden(name)
    with torch.no_grad():
        tokens = golden.network(encoder=encoder).encode(golden["x"], 100 * golden["lead_times"], golden.variables)
    assert_equal(tokens, golden["encoder_out"])


@pytest.mark.parametrize("name", ["climax", "climax_parallel_tokens", "climax_regional"])
def test_the_loss(name):
    golden = Golden(name)
    y, lat = golden["y"], golden.data["lat"]
    if golden.patch_ids is not None:
        rows = slice(golden.config["min_h"], golden.config["max_h"] + 1)
        y, lat = y[:, :, rows, golden.config["min_w"] : golden.config["max_w"] + 1], lat[rows]
    loss = latitude_weighted_mse(golden.predict(golden.network()), y, lat)
    assert float(loss) == pytest.approx(float(golden["loss"]), rel=TOLERANCE)


def test_position_interpolation():
    data = np.load(GOLDEN / "pos_embed_interpolation.npz")
    got = interpolate_positions(torch.tensor(data["pos_embed_16x32"]), (16, 32), (32, 64))
    assert_equal(got, torch.tensor(data["pos_embed_32x64"]))


def test_a_checkpoint_moves_to_another_grid():
    golden = Golden("climax")
    net = golden.network(grid_shape=(64, 128))
    expected = interpolate_positions(golden["state/pos_embed"], (16, 32), (32, 64))
    torch.testing.assert_close(net.pos_embed.detach(), expected)
    y = net(torch.randn(1, 5, 64, 128), torch.tensor([24.0]), golden.variables, golden.out_variables)
    assert y.shape == (1, 3, 64, 128)
