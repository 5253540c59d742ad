"""What holds for any ClimaX: the fold, subsets and orders of variables, dtypes, layouts, regions, compilation."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from climax_lite.grid import Grid
from climax_lite.model import ClimaX, ClimaXConfig, patchify
from climax_lite.variables import OFFICIAL_VARIABLES

NAMES = tuple("abcdefg")
SMALL = ClimaXConfig(NAMES, grid_shape=(8, 12), embed_dim=32, depth=2, num_heads=4)


def network(config: ClimaXConfig = SMALL, dtype=torch.float32, seed: int = 0, **changes) -> ClimaX:
    """With every parameter random: a fresh ClimaX attends to all variables alike, which would hide mistakes."""
    torch.manual_seed(seed)
    net = ClimaX(dataclasses.replace(config, **changes)).to(dtype)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return net.eval()


def sample(config: ClimaXConfig = SMALL, batch: int = 2, dtype=torch.float32, variables: int | None = None):
    n = len(config.variables) if variables is None else variables
    x = torch.randn(batch, n, *config.grid_shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return x, torch.linspace(6, 168, batch)


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).detach().abs().max() / b.detach().abs().max().clamp(min=1e-12))


class TestFold:
    @settings(max_examples=25, deadline=None)
    @given(
        p=st.sampled_from([1, 2, 4]), heads=st.sampled_from([1, 2, 4]), width=st.sampled_from([16, 32]), rows=st.integers(1, 3), columns=st.integers(1, 4),
        order=st.permutations(NAMES), count=st.integers(1, len(NAMES)), batch=st.integers(1, 3), seed=st.integers(0, 99),
    )  # fmt: skip
    def test_it_is_the_same_function_with_the_same_gradient(
        self, p, heads, width, rows, columns, order, count, batch, seed
    ):
        config = ClimaXConfig(NAMES, (rows * p, columns * p), p, width, depth=1, num_heads=heads)
        x, lead = sample(config, batch, torch.float64, count)
        nets = [network(config, torch.float64, seed, encoder=e) for e in ("reference", "folded")]
        assert [n.folds for n in nets] == [False, True]
        out = [n(x, lead, order[:count], NAMES) for n in nets]
        assert error(out[1], out[0]) < 1e-12
        grads = [
            torch.autograd.grad(y.square().sum(), [p for _, p in sorted(n.named_parameters())])
            for n, y in zip(nets, out, strict=True)
        ]
        scale = max(float(g.abs().max()) for g in grads[0])
        assert max(float((a - b).abs().max()) for a, b in zip(*grads, strict=True)) < 1e-10 * scale

    def test_in_float32_to_rounding(self):
        nets = [network(encoder=e) for e in ("reference", "folded")]
        out = [n(*sample(), NAMES, NAMES) for n in nets]
        assert 0 < error(out[1], out[0]) < 1e-5

    def test_no_tensor_of_all_tokens_is_made(self):
        """The largest intermediate of the folded encoder is far below B·V·L·D numbers."""
        config = ClimaXConfig(OFFICIAL_VARIABLES, (16, 16), 2, 256, depth=1, num_heads=4, encoder="folded")
        net = network(config)
        x, _ = sample(config, 2)
        sizes = []

        class Watch(torch.utils._python_dispatch.TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                out = function(*args, **(kwargs or {}))
                sizes.extend(
                    t.numel() for t in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(t, torch.Tensor)
                )
                return out

        with torch.no_grad(), Watch():
            net.aggregation.folded(patchify(x, 2), net.tokenizer.affine(torch.arange(48)))
        assert max(sizes) < 0.2 * 2 * 48 * 64 * 256

    @pytest.mark.parametrize(
        ("p", "width", "folds"), [(2, 1024, True), (4, 1024, True), (8, 1024, False), (2, 64, False)]
    )
    def test_it_is_chosen_where_it_is_cheaper(self, p, width, folds):
        assert ClimaX(ClimaXConfig(("a",), (16, 16), p, width, depth=1)).folds is folds


@pytest.mark.parametrize("encoder", ["reference", "folded"])
class TestAnyClimaX:
    def test_permuting_variables_with_their_names_changes_nothing(self, encoder):
        net = network(encoder=encoder)
        x, lead = sample()
        order = [3, 0, 6, 2, 5, 1, 4]
        permuted = net(x[:, order], lead, [NAMES[i] for i in order], NAMES)
        assert error(permuted, net(x, lead, NAMES, NAMES)) < 1e-5

    def test_each_output_is_the_same_alone(self, encoder):
        net = network(encoder=encoder)
        together = net(*sample(), NAMES, NAMES)
        for i in (0, 4):
            assert error(net(*sample(), NAMES, NAMES[i : i + 1]), together[:, i : i + 1]) < 1e-5

    def test_a_sample_alone_is_as_in_a_batch(self, encoder):
        net = network(encoder=encoder)
        x, lead = sample(batch=3)
        assert error(net(x[1:2], lead[1:2], NAMES, NAMES), net(x, lead, NAMES, NAMES)[1:2]) < 1e-5

    def test_one_variable_and_one_patch(self, encoder):
        config = ClimaXConfig(("a",), (2, 2), 2, 16, depth=1, num_heads=2, encoder=encoder)
        assert network(config)(*sample(config, 1), ("a",), ("a",)).shape == (1, 1, 2, 2)

    def test_a_layout_that_is_not_contiguous(self, encoder):
        net = network(encoder=encoder)
        x, lead = sample()
        sliced = torch.stack([x, x], dim=-1).transpose(2, 3)[..., 0].transpose(2, 3)
        assert not sliced.is_contiguous()
        assert error(net(sliced, lead, NAMES, NAMES), net(x, lead, NAMES, NAMES)) < 1e-6

    def test_a_region_sees_only_its_patches(self, encoder):
        net = network(encoder=encoder)
        x, lead = sample()
        ids = [7, 8, 13, 14]  # rows 1-2, columns 1-2 of 4 x 6 patches
        y = net(x, lead, NAMES, NAMES, ids)
        assert y.shape == (2, 7, 4, 4)
        elsewhere = x.clone()
        elsewhere[:, :, :2] = 99.0
        elsewhere[:, :, :, 6:] = 99.0
        torch.testing.assert_close(net(elsewhere, lead, NAMES, NAMES, ids), y)

    def test_all_patches_are_the_globe(self, encoder):
        net = network(encoder=encoder)
        x, lead = sample()
        ids = Grid.regular(8, 12).patch_ids("Global", 2)
        torch.testing.assert_close(net(x, lead, NAMES, NAMES, ids), net(x, lead, NAMES, NAMES))

    def test_lead_time_is_in_hours_and_matters(self, encoder):
        net = network(encoder=encoder)
        x, _ = sample()
        at = [net(x, torch.full((2,), h), NAMES, NAMES) for h in (6.0, 168.0)]
        assert error(at[0], at[1]) > 1e-3

    def test_projection(self, encoder):
        config = ClimaXConfig(
            ("CO2", "SO2"), (8, 12), 2, 32, 2, 4, time_history=5, out_variables=("tas", "pr"), encoder=encoder
        )
        net = network(config)
        x = torch.randn(3, 5, 2, 8, 12)
        y = net(x, torch.zeros(3), ("CO2", "SO2"), ("pr", "tas"))
        assert y.shape == (3, 2, 8, 12)
        torch.testing.assert_close(net(x, torch.zeros(3), ("CO2", "SO2"), ("tas",)), y[:, 1:])
        assert (
            error(net(x.flip(1), torch.zeros(3), ("CO2", "SO2"), ("pr", "tas")), y) > 1e-4
        )  # the order of the years matters

    def test_it_compiles_without_graph_breaks(self, encoder):
        net = network(encoder=encoder)
        explained = torch._dynamo.explain(net)(*sample(), NAMES, NAMES[:3])
        assert explained.graph_break_count == 0
        explained = torch._dynamo.explain(net)(*sample(), NAMES, NAMES, (7, 8, 13, 14))
        assert explained.graph_break_count == 0

    def test_bfloat16_autocast(self, encoder):
        net = network(encoder=encoder)
        torch.nn.init.normal_(net.lead_time_embed.weight, std=0.02)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = net(*sample(), NAMES, NAMES)
        assert error(y.float(), net(*sample(), NAMES, NAMES)) < 0.1

    def test_checkpointing_changes_no_gradient(self, encoder):
        grads = []
        for checkpointing in (False, True):
            net = network(encoder=encoder, checkpointing=checkpointing, dropout=0.2, drop_path=0.3).train()
            torch.manual_seed(5)
            net(*sample(), NAMES, NAMES).square().mean().backward()
            grads.append([p.grad for p in net.parameters()])
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b)


def test_the_size_of_the_published_model():
    with torch.device("meta"):
        net = ClimaX(ClimaXConfig(OFFICIAL_VARIABLES))
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(108.09e6, rel=1e-4)
    fine = torch.zeros(1, 32 * 64, 1024).numel() - torch.zeros(1, 16 * 32, 1024).numel()  # a larger map of positions
    wider = 48 * 1024 * 12 + 48 * 12 * 1025  # patches of 16 pixels, in and out
    with torch.device("meta"):
        net = ClimaX(ClimaXConfig(OFFICIAL_VARIABLES, (128, 256), 4))
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(108.09e6 + fine + wider, rel=1e-4)


def test_a_new_network_is_initialised_as_the_official_one():
    torch.manual_seed(0)
    net = ClimaX(ClimaXConfig(NAMES, (16, 32), 2, 64, 2, 4))
    assert net.aggregation.query.abs().max() == 0
    assert net.aggregation.weights(torch.randn(1, 3, 7, 64)).std() < 1e-7  # uniform attention
    assert float(net.blocks[0].attn.qkv.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert net.blocks[0].attn.qkv.bias.abs().max() == 0
    # Position 1 of the column half: sin 1 first, cos 1 behind the sines; the row half of the first row is sin 0, cos 0.
    place = net.pos_embed[0, 1].detach()
    assert float(place[0]) == pytest.approx(0.8414710)
    assert float(place[16]) == pytest.approx(0.5403023)
    assert place[32:48].abs().max() == 0


def test_attention_weights_are_those_of_the_forward():
    net = network(encoder="reference")
    tokens = torch.randn(2, 3, 7, 32)
    a = net.aggregation.weights(tokens)
    assert a.shape == (2, 3, 4, 7)
    torch.testing.assert_close(a.sum(-1), torch.ones(2, 3, 4))
    value = torch.nn.functional.linear(
        tokens, net.aggregation.in_proj_weight[64:], net.aggregation.in_proj_bias[64:]
    ).unflatten(-1, (4, 8))
    expected = net.aggregation.out_proj(torch.einsum("blnv,blvnd->blnd", a, value).flatten(2))
    torch.testing.assert_close(net.aggregation(tokens), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: ClimaXConfig(()), "one or more variables"),
        (lambda: ClimaXConfig(("a", "a")), "each once"),
        (lambda: ClimaXConfig(("a",), (31, 64)), r"divisible by the patch size 2, got \(31, 64\)"),
        (lambda: ClimaXConfig(("a",), embed_dim=100, num_heads=16), "the 16 heads, got 100"),
        (lambda: ClimaXConfig(("a",), encoder="fast"), "'auto', 'folded' or 'reference'"),
        (lambda: ClimaXConfig(("a",), time_history=3), "together"),
        (
            lambda: network()(*sample(), NAMES[:3], NAMES),
            r"expected x of shape \(batch, 3, 8, 12\), got \(2, 7, 8, 12\)",
        ),
        (
            lambda: network()(sample()[0], torch.zeros(1), NAMES, NAMES),
            r"one lead time in hours per sample, \(2,\), got \(1,\)",
        ),
        (lambda: network()(*sample(), NAMES, ("z",)), "does not know z; it knows a, b"),
        (lambda: network()(*sample(), NAMES, NAMES, [0, 1, 6]), "fill a rectangle"),
    ],
)
def test_bad_input_gets_a_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("encoder", ["reference", "folded"])
def test_the_same_on_a_gpu(encoder):
    net = network(encoder=encoder)
    x, lead = sample()
    expected = net(x, lead, NAMES, NAMES)
    assert error(net.cuda()(x.cuda(), lead.cuda(), NAMES, NAMES).cpu(), expected) < 1e-4
