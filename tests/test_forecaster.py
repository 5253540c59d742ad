"""The forecaster: its formula by hand, and its file, whole or not at all."""

import json
import math
import os

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

from climax_lite import predictor as module
from climax_lite.data import Record, Statistics
from climax_lite.forecaster import Forecaster
from climax_lite.grid import Grid, Region
from climax_lite.model import ClimaX, ClimaXConfig, save
from climax_lite.model.convolutional import ConvolutionalConfig, ResNet, UNet

NAMES = ("orography", "2m_temperature", "geopotential_500", "temperature_850")
GRID = Grid.regular(4, 8)
CONFIG = ClimaXConfig(NAMES, (4, 8), 2, 16, 1, 2, dropout=0.0, drop_path=0.0)


def network(config=CONFIG):
    torch.manual_seed(0)
    return ClimaX(config).eval()


def silent():
    """A network whose output is zero."""
    net = network()
    with torch.no_grad():
        net.head[-1].weight.zero_()
        net.head[-1].bias.zero_()
    return net


def fields(count=3, variables=NAMES):
    return torch.randn(count, len(variables), 4, 8, generator=torch.Generator().manual_seed(1))


LEADS = torch.tensor([6.0, 60.0, 168.0])


@pytest.fixture(scope="module")
def statistics():
    """Of two years of noise on a yearly and a daily wave, far from zero."""
    grid = Grid.regular(4, 8)
    hours = np.arange(0, 2 * 365 * 24, 12)
    rng = np.random.default_rng(0)
    wave = np.cos(2 * np.pi * hours / 8766) + 0.3 * np.cos(2 * np.pi * hours / 24)
    data = {
        v: (("time", "lat", "lon"), mean + scale * (wave[:, None, None] + rng.standard_normal((len(hours), 4, 8))))
        for v, mean, scale in (("2m_temperature", 280.0, 10.0), ("geopotential_500", 54000.0, 1200.0))
    }
    data["orography"] = (("lat", "lon"), rng.random((4, 8)) * 1000)
    coords = {
        "time": np.datetime64("1985-01-01", "ns") + hours * np.timedelta64(1, "h"),
        "lat": grid.lat,
        "lon": grid.lon,
    }
    return Statistics.fit(xr.Dataset(data, coords).astype("float32"), "noise")


# ---------------------------------------------------------------- the formula


def test_the_formula_by_hand():
    net, out = network(), ("geopotential_500", "2m_temperature")
    f, x = Forecaster(net), fields()
    with torch.no_grad():
        f.log_tau.copy_(torch.tensor([10.0, 24.0, 100.0, 48.0]).log())
        got, raw = f(x, LEADS, NAMES, out), net(x, LEADS, NAMES, out)
    for b, hours in enumerate((6, 60, 168)):
        for i, (channel, tau) in enumerate(((2, 100), (1, 24))):
            a = math.exp(-hours / tau)
            torch.testing.assert_close(got[b, i], a * x[b, channel] + math.sqrt(1 - a * a) * raw[b, i])


def test_without_the_network_it_is_damped_persistence():
    """τ starts at 60 h for every variable."""
    x = fields()
    got = Forecaster(silent())(x, LEADS, NAMES, NAMES)
    torch.testing.assert_close(got, torch.exp(-LEADS / 60)[:, None, None, None] * x)


def test_at_no_lead_time_it_is_the_initial_state():
    x = fields()
    torch.testing.assert_close(Forecaster(network())(x, torch.zeros(3), NAMES, NAMES), x)


def test_a_variable_that_is_not_given_has_no_skip():
    given, out = ("temperature_850", "2m_temperature"), ("2m_temperature", "geopotential_500")
    net, x = network(), fields(variables=("temperature_850", "2m_temperature"))
    got, raw = Forecaster(net)(x, LEADS, given, out), net(x, LEADS, given, out)
    torch.testing.assert_close(got[:, 1], raw[:, 1])
    a = torch.exp(-LEADS / 60)[:, None, None]
    torch.testing.assert_close(got[:, 0], a * x[:, 1] + (1 - a**2).sqrt() * raw[:, 0])


def test_full_states_are_the_networks_own():
    net, x = network(), fields()
    f = Forecaster(net, anomalies=False, skip=False)
    assert f.log_tau is None
    assert torch.equal(f(x, LEADS, NAMES, NAMES[1:]), net(x, LEADS, NAMES, NAMES[1:]))
    assert not f.damping(LEADS, NAMES).any()
    with pytest.raises(ValueError, match="skip needs anomalies"):
        Forecaster(net, anomalies=False)


@pytest.mark.parametrize("ids", [[1, 2, 5, 6], [3, 0, 7, 4]], ids=["inside", "over the seam"])
def test_a_rectangle_of_patches(ids):
    """Two rows of four patches: the damped part is cut out as the network's output is, in the order of the ids."""
    x, columns = fields(), [ids[0] % 4, ids[1] % 4]
    got = Forecaster(silent())(x, LEADS, NAMES, NAMES, ids)
    cells = [2 * c + k for c in columns for k in (0, 1)]
    torch.testing.assert_close(got, torch.exp(-LEADS / 60)[:, None, None, None] * x[..., cells])


def test_an_unknown_variable():
    with pytest.raises(ValueError, match="does not know vorticity_500"):
        Forecaster(network())(fields(), LEADS, NAMES, ("vorticity_500",))


def test_without_statistics_there_is_no_normalizer(statistics):
    with pytest.raises(ValueError, match="has the statistics of none: fine-tune it, or set"):
        Forecaster(network()).normalizer  # noqa: B018
    assert Forecaster(network(), statistics=statistics).normalizer.anomalies


# ---------------------------------------------------------------- the file


def test_a_file_brings_everything_back(tmp_path, statistics):
    f = Forecaster(network(), statistics=statistics, about={"steps": 7, "sources": {"noise": "abc"}})
    f.save(tmp_path / "f.safetensors")
    g = Forecaster.load(tmp_path / "f.safetensors")
    assert not g.training
    assert (g.config, g.anomalies, g.about) == (f.config, True, f.about)
    assert all(torch.equal(v, g.state_dict()[k]) for k, v in f.state_dict().items())
    assert torch.equal(g(fields(), LEADS, NAMES, NAMES), f(fields(), LEADS, NAMES, NAMES))


def test_half_precision_loses_one_part_in_two_thousand(tmp_path):
    f = Forecaster(network())
    f.save(tmp_path / "f.safetensors")
    f.save(tmp_path / "h.safetensors", torch.float16)
    assert (tmp_path / "h.safetensors").stat().st_size < 0.65 * (tmp_path / "f.safetensors").stat().st_size
    h = Forecaster.load(tmp_path / "h.safetensors").state_dict()
    for name, w in f.state_dict().items():
        assert h[name].dtype == torch.float32
        torch.testing.assert_close(h[name], w, rtol=5e-4, atol=1e-7, msg=name)  # atol: below 6e-5 halves are subnormal


def test_statistics_survive(tmp_path, statistics):
    Forecaster(network(), statistics=statistics).save(tmp_path / "f.safetensors")
    got = Forecaster.load(tmp_path / "f.safetensors").statistics
    assert (got.variables, got.period, got.sha256, got.source) == (
        statistics.variables, statistics.period, statistics.sha256, "noise",
    )  # fmt: skip
    for which in ("mean", "std", "anomaly_std"):
        np.testing.assert_array_equal(getattr(got, which), getattr(statistics, which))
    times = np.datetime64("1990-02-01", "ns") + np.arange(0, 365 * 24, 12) * np.timedelta64(1, "h")
    a, b = got.climatology.at(times), statistics.climatology.at(times)
    for v in b.data_vars:
        std = statistics.std[statistics.variables.index(v)]
        assert float(abs(a[v] - b[v]).max()) < 0.002 * std, v


def test_statistics_without_a_climatology(tmp_path, statistics):
    import dataclasses

    short = dataclasses.replace(statistics, climatology=None)
    Forecaster(network(), anomalies=False, skip=False, statistics=short).save(tmp_path / "f.safetensors")
    assert Forecaster.load(tmp_path / "f.safetensors").statistics.climatology is None


def test_fields_of_the_configuration_can_be_changed(tmp_path):
    Forecaster(network()).save(tmp_path / "f.safetensors")
    f = Forecaster.load(tmp_path / "f.safetensors", dropout=0.3, encoder="reference")
    assert (f.config.dropout, f.config.encoder) == (0.3, "reference")


def test_where_and_when_it_forecasts_survive(tmp_path, statistics):
    box, grid = Region(-40, 40, 100, 200), Grid(GRID.lat, GRID.lon + 1.5)
    Forecaster(network(), statistics=statistics, grid=grid, region=box, window=(24, 48)).save(
        tmp_path / "f.safetensors"
    )
    f = Forecaster.load(tmp_path / "f.safetensors")
    assert (f.region, f.window) == (box, (24, 48))
    np.testing.assert_array_equal(f.grid.lon, grid.lon)
    assert f.out_grid.lon.tolist() == [91.5, 136.5, 181.5, 226.5]
    assert Forecaster(network(), region="NorthAmerica").out_grid.lon.tolist() == [180, 225, 270, 315]
    with pytest.raises(ValueError, match=r"a grid of \(4, 8\) cells, as the network, got \(8, 8\)"):
        Forecaster(network(), grid=Grid.regular(8, 8))


def test_other_networks_in_the_same_file(tmp_path):
    c = ConvolutionalConfig(NAMES, ("2m_temperature",), (4, 8), width=8, depth=2)
    for kind in (ResNet, UNet):
        torch.manual_seed(0)
        f = Forecaster(kind(c)).eval()
        f.save(tmp_path / "f.safetensors")
        again = Forecaster.load(tmp_path / "f.safetensors")
        assert isinstance(again.net, kind)
        with torch.no_grad():
            out = again(fields(), LEADS, NAMES, ("2m_temperature",))
            assert torch.equal(out, f(fields(), LEADS, NAMES, ("2m_temperature",)))
    fresh = again.fresh()
    assert fresh.config == again.config
    assert not torch.equal(fresh.net.stem.weight, again.net.stem.weight)


def test_damping_times_start_from_the_data():
    """Autoregressive processes of 100 and 1,000 hours; what no record has keeps its start, what is not asked for too."""
    rng, a = np.random.default_rng(0), np.exp(-6 / np.array([100.0, 1000.0]))[:, None, None]
    values = rng.standard_normal((6000, 2, 4, 8))
    for t in range(1, len(values)):
        values[t] = a * values[t - 1] + np.sqrt(1 - a**2) * values[t]
    times = np.datetime64("1985-01-01", "ns") + np.arange(6000) * np.timedelta64(6, "h")
    grid = Grid.regular(4, 8)
    record = Record(
        values.astype("float32"), np.empty((0, 4, 8)), ("2m_temperature", "geopotential_500"), (), times, grid.lat, grid.lon, "ar"
    )  # fmt: skip
    f, g = Forecaster(network()), Forecaster(network())
    f.fit_damping([record, record])
    np.testing.assert_allclose(f.log_tau.detach().exp(), [60, 100, 1000, 60], rtol=0.2)
    g.fit_damping([record], ["2m_temperature"])
    np.testing.assert_allclose(g.log_tau.detach().exp(), [60, 100, 60, 60], rtol=0.2)
    Forecaster(network(), skip=False).fit_damping([record])


@pytest.mark.parametrize(("hours", "expected"), [(168, 100), (100, 50 * 2**0.5), (23, 60)])
def test_damping_times_are_averaged_over_the_lags_that_a_record_has(hours, expected):
    """In the logarithm: 50, 100 and 200 h are 100 h."""
    taus = {24: 50, 72: 100, 168: 200}

    class Short:
        variables = ("2m_temperature",)

        def __init__(self):
            self.hours = np.array([0, hours])

        def autocorrelation(self, lag):
            assert lag <= hours
            return np.exp([-lag / taus[lag]])

    f = Forecaster(network())
    f.fit_damping([Short()])
    assert f.log_tau[1].exp().item() == pytest.approx(expected, rel=1e-5)


def test_files_that_are_none_of_ours(tmp_path):
    path = tmp_path / "f.safetensors"
    with pytest.raises(ValueError, match="there is no file"):
        Forecaster.load(path)
    path.write_bytes(b"not a checkpoint at all")
    with pytest.raises(ValueError, match="not a whole checkpoint of climax_lite"):
        Forecaster.load(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="not a whole checkpoint of climax_lite"):
        Forecaster.load(path)
    save_file({"x": torch.zeros(2)}, path, {"climax_lite": json.dumps({"format": "climax-lite forecaster 99"})})
    with pytest.raises(
        ValueError, match="expected a file of format 'climax-lite forecaster 1', got 'climax-lite forecaster 99'"
    ):
        Forecaster.load(path)
    save(network(), path)
    with pytest.raises(ValueError, match="climax_lite"):
        Forecaster.load(path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_file(tmp_path, keep):
    path = tmp_path / "f.safetensors"
    Forecaster(network()).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ValueError, match="delete it, and fetch or make it again"):
        Forecaster.load(path)


def test_a_file_that_does_not_fit_its_own_header(tmp_path):
    path = tmp_path / "f.safetensors"
    Forecaster(network()).save(path)
    with pytest.raises(ValueError, match=r"misshapen \['net\.blocks\.0\.mlp\.fc1\.bias'"):
        Forecaster.load(path, mlp_ratio=2)
    with pytest.raises(ValueError, match=r"expected a grid of \(8, 8\) cells, as the network, got \(4, 8\)"):
        Forecaster.load(path, grid_shape=(8, 8))


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f.safetensors"
    Forecaster(network(), about={"edition": 1}).save(path)
    seen = []

    def stop(part, to):
        seen.append((str(part), part.stat().st_size))
        raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        Forecaster(network(), about={"edition": 2}).save(path)
    monkeypatch.undo()
    assert seen[0][0].endswith(f"{os.getpid()}.part")
    assert Forecaster.load(path).about == {"edition": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["f.safetensors"]


def test_a_kill_while_it_writes_leaves_the_old_file(tmp_path):
    path = tmp_path / "f.safetensors"
    Forecaster(network(), about={"edition": 1}).save(path)
    child = os.fork()
    if not child:
        module.os.replace = lambda part, to: os.kill(os.getpid(), 9)
        try:
            Forecaster(network(), about={"edition": 2}).save(path)
        finally:
            os._exit(1)  # not on into the other tests
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == 9
    assert Forecaster.load(path).about == {"edition": 1}
    assert len(list(tmp_path.glob("*.part"))) == 1
