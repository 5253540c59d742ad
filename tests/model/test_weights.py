"""Checkpoints: every published layout, strictly; out again bit for bit; damaged files answered with a sentence."""

import pickle
import sys
import types

import pytest
import torch

import climax_lite as cl
from climax_lite import checkpoints
from climax_lite.model import ClimaX, ClimaXConfig, from_official, load, save, to_official

from .test_parity import FILES, Golden

LAYOUTS = {
    "bare": lambda s: s,
    "net. prefix": lambda s: {f"net.{k}": v for k, v in s.items()},
    "Lightning": lambda s: {
        "state_dict": {f"net.{k}": v for k, v in s.items()},
        "epoch": 3,
        "hyper_parameters": {"lr": 5e-4},
    },
    "old names": lambda s: {
        k.replace("var_embed", "channel_embed")
        .replace("var_query", "channel_query")
        .replace("var_agg", "channel_agg"): v
        for k, v in s.items()
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["climax", "climax_parallel_tokens"])
def test_every_published_layout_loads_from_a_file(tmp_path, name, layout):
    golden = Golden(name)
    torch.save(LAYOUTS[layout](golden.state), tmp_path / "x.ckpt")
    net = from_official(tmp_path / "x.ckpt", golden.config["default_vars"], golden.config["num_heads"]).eval()
    torch.testing.assert_close(golden.predict(net), golden.predict(golden.network()), rtol=0, atol=0)


@pytest.mark.parametrize("name", FILES)
def test_weights_leave_bit_for_bit(name):
    golden = Golden(name)
    back = to_official(golden.network(), "parallel" if "parallel" in name else "serial")
    assert set(back) == set(golden.state)
    assert all(torch.equal(back[k], v) and back[k].shape == v.shape for k, v in golden.state.items())


def test_the_two_layouts_hold_the_same():
    golden = Golden("climax")
    other = from_official(
        to_official(golden.network(), "parallel"), golden.config["default_vars"], golden.config["num_heads"]
    ).eval()
    torch.testing.assert_close(golden.predict(other), golden.predict(golden.network()), rtol=0, atol=0)
    with pytest.raises(ValueError, match="'serial' or 'parallel'"):
        to_official(golden.network(), "diagonal")


def official(state=None, variables=None, **changes):
    golden = Golden("climax")
    state = golden.state if state is None else state
    return from_official(state, variables or golden.config["default_vars"], golden.config["num_heads"], **changes)


def without(*keys):
    return {k: v for k, v in Golden("climax").state.items() if k not in keys}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: official(without("blocks.1.mlp.fc2.bias")),
            r"no 'blocks.1.mlp.fc2.bias'; of its kind it has \['blocks.0",
        ),
        (lambda: official(without("var_query")), "no 'var_query'; of its kind it has nothing"),
        (lambda: official(without("token_embeds.7.proj.bias")), "no 'token_embeds.7.proj.bias'"),
        (
            lambda: official({**without(), "extra.weight": torch.zeros(1)}),
            r"1 tensors that ClimaX does not have: \['extra.weight'\]",
        ),
        (lambda: official(variables=["a", "b"]), "has 8 variables, and 2 names were given"),
        (lambda: official({**without(), "norm.bias": torch.zeros(7)}), r"norm.bias has shape \(7,\), expected \(48,\)"),
        (lambda: official(aspect=3), "give another aspect"),
        (lambda: official({"epoch": 3}), r"got none among \['epoch'\]"),
        (
            lambda: official(Golden("climax_projection").state, variables=list("abcd")),
            "name what it predicts with out_variables",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_a_file_that_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "x.ckpt"
    with pytest.raises(ValueError, match="there is no file"):
        official(path)
    torch.save(Golden("climax").state, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="may be truncated, so fetch it again"):
        official(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="expected a state dict or a Lightning checkpoint, got list"):
        official(path)


class Bomb:
    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_code_in_a_file_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Golden("climax").state, "callbacks": Bomb()}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="hold code, which is never run"):
        official(tmp_path / "x.ckpt")
    (tmp_path / "y.ckpt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        official(tmp_path / "y.ckpt")
    assert not (tmp_path / "exploded").exists()


class TestOurFiles:
    def net(self):
        return ClimaX(ClimaXConfig(("a", "b"), (4, 8), 2, 16, 1, 2))

    def test_a_file_describes_itself(self, tmp_path):
        net = self.net()
        save(net, tmp_path / "n.safetensors", {"seed": 3})
        back, header = load(tmp_path / "n.safetensors")
        assert back.config == net.config
        assert header["seed"] == 3
        assert all(
            torch.equal(a, b) for a, b in zip(net.state_dict().values(), back.state_dict().values(), strict=True)
        )
        assert not list(tmp_path.glob("*.part"))
        assert load(tmp_path / "n.safetensors", dropout=0.0)[0].config.dropout == 0.0
        with pytest.raises(ValueError, match=r"a bare network is read by climax_lite\.model\.load"):
            cl.load(tmp_path / "n.safetensors")  # which gives forecasters

    def test_a_damaged_file_gets_a_sentence(self, tmp_path):
        path = tmp_path / "n.safetensors"
        with pytest.raises(ValueError, match="there is no file"):
            load(path)
        save(self.net(), path)
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ValueError, match="not a whole checkpoint of climax_lite"):
            load(path)

    def test_weights_that_do_not_fit_are_named(self, tmp_path):
        save(self.net(), tmp_path / "n.safetensors")
        with pytest.raises(ValueError, match=r"missing \['blocks.1.attn.proj.bias'"):
            load(tmp_path / "n.safetensors", depth=2)


class TestTheHub:
    def test_a_published_checkpoint(self, monkeypatch, tmp_path):
        golden = Golden("climax")
        torch.save({"state_dict": {f"net.{k}": v for k, v in golden.state.items()}}, tmp_path / "5.625deg.ckpt")
        asked = []
        hub = types.SimpleNamespace(
            hf_hub_download=lambda repo, file: asked.append((repo, file)) or str(tmp_path / file)
        )
        monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
        monkeypatch.setattr(checkpoints, "OFFICIAL_VARIABLES", tuple(golden.config["default_vars"]))
        monkeypatch.setitem(checkpoints.OFFICIAL, "5.625deg", golden.config["num_heads"])
        forecaster = cl.load("tungnd/climax:5.625deg", dropout=0.0)
        assert asked == [("tungnd/climax", "5.625deg.ckpt")]
        assert not forecaster.anomalies
        assert forecaster.log_tau is None
        torch.testing.assert_close(golden.predict(forecaster.net), golden.predict(golden.network()))

    def test_no_network(self, monkeypatch):
        def refuse(repo, file):
            raise OSError("no route to host")

        monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=refuse))
        with pytest.raises(
            ValueError, match=r"could not be fetched \(OSError\): try again with a network, or fetch 5.625deg.ckpt"
        ):
            cl.load("tungnd/climax:5.625deg")

    def test_no_hub_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(ValueError, match="pip install huggingface_hub"):
            cl.load("tungnd/climax:5.625deg")

    def test_an_unknown_name(self):
        with pytest.raises(
            ValueError, match=r"expected the path of a file or of a run, or one of tiny, .*tungnd/climax:5\.625deg"
        ):
            cl.load("tungnd/climax:0.25deg")
