"""A network on new variables, a new grid, other dropout: what it knew stays, bit for bit where it can."""

import pytest
import torch

from climax_lite.model import ClimaX, ClimaXConfig
from climax_lite.model.adapt import at_places, for_projection, on_grid_shape, with_config, with_variables
from climax_lite.model.embed import interpolate_positions, sincos_1d

OLD = ("2m_temperature", "geopotential_500")
NEW = ("temperature_850", "specific_humidity_850")
CONFIG = ClimaXConfig(OLD, (8, 16), 4, 16, 2, 2)
LEAD = torch.tensor([24.0, 72.0])


def network(config=CONFIG, seed=0):
    """Trained weights, as far as a test can tell: none is where it was initialised."""
    torch.manual_seed(seed)
    net = ClimaX(config).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


def fields(variables, shape=(8, 16)):
    return torch.randn(2, len(variables), *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("encoder", ["reference", "folded"])
def test_old_forecasts_stay_bit_for_bit(encoder):
    net = with_config(network(), encoder=encoder)
    wide, x = with_variables(net, (*NEW, *OLD)), fields(OLD)
    assert wide.config.variables == (*OLD, *NEW)
    assert torch.equal(wide(x, LEAD, OLD, OLD), net(x, LEAD, OLD, OLD))
    assert torch.equal(wide(x.flip(1), LEAD, OLD[::-1], OLD[:1]), net(x.flip(1), LEAD, OLD[::-1], OLD[:1]))


def test_new_rows_are_as_initialised():
    """Token weights and head rows of 0.02, biases of the head zero, embeddings at the next positions of the sine-cosine table."""
    wide = with_variables(network(), NEW).requires_grad_(False)
    assert torch.equal(wide.tokenizer.embedding[2:], sincos_1d(range(4), 16)[2:])
    assert 0.01 < float(wide.tokenizer.weight[2:].std()) < 0.03
    assert float(wide.tokenizer.bias[2:].abs().max()) <= 1 / 4
    last = wide.head[-1]
    rows = last.weight.unflatten(0, (-1, 4))
    assert rows.shape == (16, 4, 16)
    assert float(rows[:, 2:].abs().max()) <= 0.11  # a deviation of 0.02
    assert 0.01 < float(rows[:, 2:].std()) < 0.03
    assert not last.bias.unflatten(0, (-1, 4))[:, 2:].any()


def test_the_new_ones_can_be_forecast_and_learn():
    wide = with_variables(network(), NEW).train()
    wide(fields((*OLD, *NEW)), LEAD, (*OLD, *NEW), NEW).square().mean().backward()
    for p in (wide.tokenizer.weight, wide.tokenizer.bias, wide.tokenizer.embedding):
        assert bool((p.grad[2:] != 0).any())


def test_nothing_new_is_the_same_network():
    net = network()
    assert with_variables(net, OLD[::-1]) is net
    assert on_grid_shape(net, (8, 16)) is net


def test_a_new_grid_interpolates_the_positions_and_keeps_the_rest():
    net = network()
    other = on_grid_shape(net, (16, 24))
    assert other.config.patches == (4, 6)
    assert torch.equal(other.pos_embed, interpolate_positions(net.pos_embed, (2, 4), (4, 6)))
    assert other.pos_embed.shape == (1, 24, 16)
    rest = {k: v for k, v in net.state_dict().items() if k != "pos_embed"}
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in rest.items())
    assert other(fields(OLD, (16, 24)), LEAD, OLD, OLD).shape == (2, 2, 16, 24)


def test_positions_that_are_a_constant_stay_it():
    net = network()
    with torch.no_grad():
        net.pos_embed.fill_(0.25)
    torch.testing.assert_close(on_grid_shape(net, (16, 32)).pos_embed, torch.full((1, 32, 16), 0.25))


def test_places_of_a_part_of_the_globe():
    """Of 2 x 4 patches: a whole number takes an embedding, a half the mean of two, and columns go round."""
    net = network()
    part = at_places(net, (8, 12), torch.tensor([0.0, 0.5]), torch.tensor([2.0, 3.5, 5.0]))
    table = net.pos_embed[0].unflatten(0, (2, 4))
    north = (table[0] + table[1]) / 2
    expected = torch.stack([r[c] for r in (table[0], north) for c in (2, 3, 1)])
    expected[1], expected[4] = (table[0, 3] + table[0, 0]) / 2, (north[3] + north[0]) / 2
    torch.testing.assert_close(part.pos_embed[0], expected)
    assert part.config.grid_shape == (8, 12)
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in part.state_dict().items() if k != "pos_embed")


def test_what_a_region_keeps_is_what_a_crop_sees():
    """The paper drops the tokens beyond the region before attention, so they cannot matter."""
    net, x = network(), fields(OLD)
    crop = at_places(net, (4, 8), torch.tensor([1.0]), torch.tensor([1.0, 2.0]))
    kept = net(x, LEAD, OLD, OLD, patch_ids=[5, 6])
    torch.testing.assert_close(crop(x[..., 4:, 4:12], LEAD, OLD, OLD), kept)


def test_a_grid_that_the_patches_do_not_divide():
    with pytest.raises(ValueError, match="divisible by the patch size 4"):
        on_grid_shape(network(), (10, 16))


def test_another_configuration_of_the_same_tensors():
    net = network()
    other = with_config(net, dropout=0.0, drop_path=0.7, checkpointing=True)
    assert [b.drop_path.rate for b in other.blocks] == [0.0, 0.7]
    x = fields(OLD)
    assert torch.equal(other(x, LEAD, OLD, OLD), net(x, LEAD, OLD, OLD))


def test_training_mode_is_kept():
    for net in (network(), network().train()):
        for other in (with_variables(net, NEW), on_grid_shape(net, (16, 16)), with_config(net, dropout=0.0)):
            assert other.training == net.training


def test_a_projection_network_is_refused():
    net = ClimaX(ClimaXConfig(OLD, (8, 16), 4, 16, 1, 2, time_history=2, out_variables=("pr",)))
    with pytest.raises(ValueError, match="pooled head predicts fixed variables"):
        with_variables(net, NEW)
    with pytest.raises(ValueError, match="grid of a pooled head is fixed"):
        on_grid_shape(net, (16, 16))


def test_projection_keeps_what_is_about_flow_and_renews_what_is_about_weather():
    net = network()
    other = for_projection(net, ("CO2", "dimming", "CH4"), ("2m_temperature",), time_history=3)
    assert (other.config.variables, other.config.out_variables) == (("CO2", "dimming", "CH4"), ("2m_temperature",))
    old, new = net.state_dict(), other.state_dict()
    kept = {n for n in new if n in old and old[n].shape == new[n].shape and torch.equal(old[n], new[n])}
    parts = ("blocks.", "norm.", "aggregation.", "lead_time_embed.", "pos_embed")
    assert kept == {n for n in old if n.startswith(parts)}
    assert {n.split(".")[0] for n in set(new) - kept} == {"tokenizer", "time_pos_embed", "head"}
    assert torch.equal(other.tokenizer.embedding, sincos_1d(range(3), 16))
    assert other(torch.randn(2, 3, 3, 8, 16), LEAD, ("CO2", "dimming", "CH4"), ("2m_temperature",)).shape == (
        2,
        1,
        8,
        16,
    )
    before = net.state_dict()["blocks.0.attn.qkv.weight"].clone()
    with torch.no_grad():
        other.blocks[0].attn.qkv.weight.zero_()
    assert torch.equal(net.state_dict()["blocks.0.attn.qkv.weight"], before)  # a copy, not shared
