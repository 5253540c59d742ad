"""ResNet and U-Net: round the globe, names in and out, every channel needed."""

import pytest
import torch

from climax_lite.model.convolutional import ConvolutionalConfig, ResNet, SphereConv, UNet
from climax_lite.model.tokenize import cells

NAMES = ("a", "b", "c")


def network(kind, **changes):
    torch.manual_seed(0)
    config = ConvolutionalConfig(**{"variables": NAMES, "grid_shape": (8, 16), "width": 8, "depth": 3, **changes})
    return kind(config).eval()


def test_a_convolution_by_hand():
    conv = SphereConv(1, 1, 3)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        conv.bias.zero_()
    x = torch.arange(12.0).reshape(1, 1, 3, 4)  # rows 0 1 2 3, 4 5 6 7, 8 9 10 11
    y = conv(x)[0, 0]
    # Column 0 has column 3 to its west; beyond the first row comes the first row again.
    assert y[1, 0] == sum([3, 0, 1, 7, 4, 5, 11, 8, 9])
    assert y[0, 1] == sum([0, 1, 2]) * 2 + sum([4, 5, 6])


@pytest.mark.parametrize("kind", [ResNet, UNet])
class TestBoth:
    def test_turning_the_globe_turns_the_forecast(self, kind):
        net = network(kind)
        x, lead = torch.randn(2, 3, 8, 16), torch.tensor([6.0, 72.0])
        turned = net(x.roll(4, -1), lead, NAMES, NAMES)  # by a whole number of the U-Net's coarsest cells
        torch.testing.assert_close(turned, net(x, lead, NAMES, NAMES).roll(4, -1), atol=1e-5, rtol=1e-4)

    def test_names_may_come_in_any_order(self, kind):
        net = network(kind)
        x, lead = torch.randn(1, 3, 8, 16), torch.tensor([24.0])
        y = net(x, lead, NAMES, NAMES)
        torch.testing.assert_close(net(x[:, [2, 0, 1]], lead, ("c", "a", "b"), ("b",)), y[:, 1:2])

    def test_lead_time_matters(self, kind):
        net = network(kind)
        x = torch.randn(1, 3, 8, 16).expand(2, -1, -1, -1)
        y = net(x, torch.tensor([6.0, 168.0]), NAMES, NAMES)
        assert (y[0] - y[1]).abs().max() > 1e-3

    def test_gradients_reach_every_weight(self, kind):
        net = network(kind).train()
        net(torch.randn(1, 3, 8, 16), torch.tensor([24.0]), NAMES, NAMES).square().mean().backward()
        assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []

    def test_what_it_refuses(self, kind):
        net = network(kind)
        x, lead = torch.randn(1, 2, 8, 16), torch.tensor([24.0])
        with pytest.raises(ValueError, match=r"needs all of its variables, and c is missing"):
            net(x, lead, ("a", "b"), ("a",))
        with pytest.raises(ValueError, match="does not predict z"):
            net(torch.randn(1, 3, 8, 16), lead, NAMES, ("z",))
        with pytest.raises(ValueError, match=r"expected fields on a grid \(8, 16\)"):
            net(torch.randn(1, 3, 8, 8), lead, NAMES, NAMES)

    def test_a_region(self, kind):
        net = network(kind)
        x, lead = torch.randn(1, 3, 8, 16), torch.tensor([24.0])
        whole = net(x, lead, NAMES, NAMES)
        part = net(
            x, lead, NAMES, NAMES, patch_ids=[1, 2]
        )  # of 2 × 4 patches of 4 × 4 cells: the first row, columns 1 and 2
        torch.testing.assert_close(part, whole[:, :, :4, 4:12])


def test_a_grid_that_cannot_be_halved():
    with pytest.raises(ValueError, match="can be halved 3 times"):
        network(UNet, depth=4, grid_shape=(12, 16))


def test_a_box_across_greenwich_stays_in_one_piece():
    x = torch.arange(32.0).reshape(1, 1, 4, 8)
    part = cells(x, [3, 0], columns=4, patch_size=2)  # the last column of patches, then the first
    assert part[0, 0, 0].tolist() == [6, 7, 0, 1]


def test_configuration():
    with pytest.raises(ValueError, match="odd kernel"):
        ConvolutionalConfig(("a",), kernel=4)
    assert ConvolutionalConfig(("a", "b")).out_variables == ("a", "b")
