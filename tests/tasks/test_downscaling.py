"""Downscaling on toy worlds whose answers can be computed by hand."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

from climax_lite.data import Batch
from climax_lite.grid import Grid
from climax_lite.model import ClimaX, ClimaXConfig
from climax_lite.regrid import regrid
from climax_lite.tasks import downscaling
from climax_lite.tasks.downscaling import (
    STATIC,
    Detail,
    Downscaler,
    Downscaling,
    coarsen,
    conserve,
    crop_ids,
    interpolate,
    score,
)
from climax_lite.train import Net, Optimisation, Run, Training
from climax_lite.variables import variable

T, P = "2m_temperature", "total_precipitation_24hr"
COARSE, FINE = Grid.regular(4, 8), Grid.regular(12, 24)


def maps(grid, days=6, seed=0, start="1985-01-02"):
    """Random weather with a terrain; `FINE` lies in whole cells of three by three in `COARSE`."""
    rng = np.random.default_rng(seed)
    dims, times = ("time", "lat", "lon"), np.datetime64(start, "ns") + np.arange(days) * np.timedelta64(1, "D")
    data = {
        T: (dims, (280 + rng.normal(size=(days, *grid.shape))).astype("float32"), variable(T).attrs),
        P: (dims, (0.01 * rng.random((days, *grid.shape)) ** 4).astype("float32"), variable(P).attrs),
    }
    data |= {v: (("lat", "lon"), rng.random(grid.shape).astype("float32"), variable(v).attrs) for v in STATIC}
    return xr.Dataset(data, {"time": times, "lat": grid.lat, "lon": grid.lon})


def pair(seed=0, days=6):
    fine = maps(FINE, days, seed)
    return coarsen(fine, COARSE), fine


def network(patch=2, **changes):
    config = ClimaXConfig((T, P, *STATIC), FINE.shape, patch, embed_dim=8, depth=1, num_heads=2, dropout=0, drop_path=0)
    torch.manual_seed(0)
    return ClimaX(dataclasses.replace(config, **changes))


@pytest.fixture
def model():
    return Downscaler(network(), Detail.fit(*pair()))


# ---------------------------------------------------------------- interpolation


def test_bicubic_weights_halfway_are_those_of_keys():
    # Between two points: -1/16, 9/16, 9/16, -1/16 (Keys 1981).
    target = Grid(np.array([0.0]), np.array([22.5]))
    rows, columns = downscaling._keys(Grid.regular(4, 8), target)
    np.testing.assert_allclose(rows[0], [-1 / 16, 9 / 16, 9 / 16, -1 / 16], atol=1e-12)
    np.testing.assert_allclose(columns[0], [9 / 16, 9 / 16, -1 / 16, 0, 0, 0, 0, -1 / 16], atol=1e-12)


def test_bicubic_is_exact_for_a_parabola_in_latitude_away_from_the_poles():
    coarse = Grid.regular(16, 8)
    values = np.broadcast_to((coarse.lat[:, None] / 90) ** 2, (1, *coarse.shape))
    ds = xr.Dataset({T: (("time", "lat", "lon"), values)}, {"time": [0], "lat": coarse.lat, "lon": coarse.lon})
    fine = Grid.regular(48, 24)
    inner = abs(fine.lat) < 90 - 2 * 180 / 16
    cubic, linear = (interpolate(ds, fine, m)[T].values[0] for m in ("bicubic", "bilinear"))
    wanted = np.broadcast_to((fine.lat[:, None] / 90) ** 2, fine.shape)
    np.testing.assert_allclose(cubic[inner], wanted[inner], atol=1e-6)
    assert abs(linear - wanted)[inner].max() > 1e-3


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_a_constant_stays_and_the_seam_is_no_edge(method):
    coarse = pair()[0]
    constant = interpolate(coarse * 0 + 3, FINE, method)[T]
    np.testing.assert_allclose(constant, 3, rtol=1e-6)
    turned = coarse.roll(lon=3, roll_coords=False)
    np.testing.assert_allclose(
        interpolate(turned, FINE, method)[T], interpolate(coarse, FINE, method)[T].roll(lon=9), atol=2e-4
    )


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_conserving_interpolation_keeps_the_means_over_coarse_cells(method):
    coarse, _ = pair()
    plain, kept = (regrid(interpolate(coarse, FINE, method, c)[[T]], COARSE)[T] for c in (False, True))
    np.testing.assert_allclose(kept, coarse[T], atol=1e-4)
    assert float(abs(plain - coarse[T]).max()) > 0.1
    # Three fine cells a coarse one, bilinear along a row: the mean takes 1/9, 7/9 and 1/9 of neighbours, so a single 1 K becomes
    # the solution of z[i-1] + 7 z[i] + z[i+1] = 9 x[i], which is round the row of eight.
    row = np.zeros((1, 4, 8))
    row[..., 3] = 1
    one = xr.Dataset({T: (("time", "lat", "lon"), row)}, {"time": [0], "lat": COARSE.lat, "lon": COARSE.lon})
    found = interpolate(one, FINE, "bilinear", conserving=True)[T][0, 5, 1::3]
    z = np.linalg.solve((7 * np.eye(8) + np.roll(np.eye(8), 1, 0) + np.roll(np.eye(8), -1, 0)) / 9, row[0, 0])
    np.testing.assert_allclose(interpolate(one, FINE, "bilinear", conserving=True)[T][0, 5, ::3], z, atol=1e-6)
    np.testing.assert_allclose(found, (2 * z + np.roll(z, -1)) / 3, atol=1e-6)


def test_interpolation_refuses_what_it_cannot_do():
    coarse = pair()[0]
    with pytest.raises(ValueError, match="bilinear"):
        interpolate(coarse, FINE, "nearest")
    with pytest.raises(ValueError, match="equal steps"):
        interpolate(coarse.isel(lat=[0, 1, 3]), FINE, "bicubic")


# ---------------------------------------------------------------- conserving


def test_conserving_adds_to_a_block_what_its_mean_lacks():
    # Cells lie whole in coarse ones, and rows of a block weigh nearly alike: a lump of +9 K in one of nine cells becomes +1 K too much.
    coarse = xr.zeros_like(pair(days=1)[0])
    fine = xr.zeros_like(maps(FINE, 1)[[T, P]])
    fine[T][0, 7, 4] = 9.0  # in block (2, 1): rows 6 to 8, columns 2 to 4
    out = conserve(fine, coarse)[T][0]
    assert abs(float(out[7, 4]) - 8) < 0.1
    np.testing.assert_allclose(out[6:9, 2:5].values.ravel()[[0, 1, 3]], -1, atol=0.15)
    np.testing.assert_allclose(out[:6], 0, atol=1e-6)
    np.testing.assert_allclose(regrid(out.to_dataset(), COARSE)[T], 0, atol=1e-5)


def test_conserving_brings_every_field_nearer_to_a_truth_with_those_means():
    coarse, fine = pair(days=8)
    guess = interpolate(coarse, FINE).assign_coords(lat=fine.lat, lon=fine.lon)
    before, after = (((g[T] - fine[T]) ** 2).sum(("lat", "lon")) for g in (guess, conserve(guess, coarse)))
    assert (after < before).all()
    np.testing.assert_allclose(regrid(conserve(guess, coarse)[[T]], COARSE)[T], coarse[T], atol=1e-3)


def test_rain_is_never_negative():
    coarse, fine = pair()
    for maps_ in (
        interpolate(coarse, FINE, "bicubic"),
        conserve(fine[[T, P]] - 1, coarse),
        Detail.fit(coarse, fine)(coarse),
    ):
        assert float(maps_[P].min()) >= 0


# ---------------------------------------------------------------- the mean detail


def test_the_mean_detail_is_the_whole_of_a_detail_that_never_changes():
    coarse, _ = pair()
    smooth = interpolate(coarse, FINE, "bicubic", conserving=True)
    terrain = maps(FINE)
    fine = smooth.merge(terrain[list(STATIC)]).assign({T: smooth[T] - 6.5 * terrain["orography"]})
    detail = Detail.fit(coarse, fine)
    np.testing.assert_allclose(detail.detail[T], -6.5 * terrain["orography"], atol=1e-3)
    np.testing.assert_allclose(detail(coarse)[T], fine[T], atol=1e-3)


def test_inputs_and_targets_are_of_order_one_and_go_back():
    coarse, fine = pair(days=40)
    detail = Detail.fit(coarse, fine)
    smooth = detail.smooth(coarse)
    w = xr.DataArray(FINE.weights(), dims="lat")
    for ds in (detail.inputs(smooth), detail.targets(smooth, fine)):
        for v in (T, P):
            assert float(abs((ds[v] * w.values[:, None]).mean())) < 1e-3
            assert float((ds[v] ** 2 * w.values[:, None]).mean()) == pytest.approx(1, abs=0.01)
    back = detail.finish(smooth, detail.targets(smooth, fine))
    np.testing.assert_allclose(back[T], fine[T], atol=1e-3)
    np.testing.assert_allclose(back[P], fine[P], atol=1e-7)
    assert back[T].attrs["units"] == "K"


def test_the_detail_refuses_times_that_differ_and_a_missing_terrain():
    coarse, fine = pair()
    with pytest.raises(ValueError, match="same times"):
        Detail.fit(coarse.isel(time=slice(1, None)), fine)
    with pytest.raises(ValueError, match="orography"):
        Detail.fit(coarse, fine.drop_vars("orography"))
    with pytest.raises(ValueError, match=P):
        Detail.fit(coarse, fine).smooth(coarse[[T]])


# ---------------------------------------------------------------- the network


def test_a_network_of_zeros_answers_with_the_mean_detail():
    pairs = pair()
    settings = Downscaling("", net=Net(patch_size=2, embed_dim=8, depth=1, num_heads=2), crop=(3, 4))
    fresh = downscaling.untrained(settings, Detail.fit(*pairs))
    for conserving in (False, True):
        wanted = fresh.detail(pairs[0])
        wanted = conserve(wanted, pairs[0]) if conserving else wanted
        found = fresh.downscale(pairs[0], conserving)
        np.testing.assert_allclose(found[T], wanted[T], atol=1e-4)
        np.testing.assert_allclose(found[P], wanted[P], atol=1e-7)
    np.testing.assert_array_equal(found.lat, pairs[1].lat)


def test_downscaling_is_what_the_network_says_in_units_of_the_detail(model):
    coarse, fine = pair(3)
    samples = model.samples(coarse, fine, "toy")
    batch = samples.batch(np.arange(6)[:, None])
    with torch.no_grad():
        said = model.eval()(batch.x, batch.lead_hours, batch.variables, batch.out_variables)[:, 0].numpy()
    d = model.detail
    by_hand = interpolate(coarse, FINE, "bicubic", conserving=True)[T].values + d.detail[T].values + d.unit[T] * said
    np.testing.assert_allclose(model.downscale(coarse, conserving=False)[T], by_hand, atol=1e-3)
    assert batch.variables == (T, P, *STATIC)
    assert batch.out_variables == (T, P)


def test_crops_go_round_the_globe_and_are_the_cells_of_the_whole_map(model):
    # Six by twelve patches; two by three from row 1, column 11.
    assert crop_ids(1, 11, (2, 3), 12) == [23, 12, 13, 35, 24, 25]
    x = torch.randn(1, 5, *FINE.shape)
    names = model.variables
    model.net.blocks = torch.nn.ModuleList()  # no attention: a token knows only itself
    with torch.no_grad():
        whole = model.eval()(x, torch.zeros(1), names, (T, P))
        crop = model(x, torch.zeros(1), names, (T, P), crop_ids(1, 11, (2, 3), 12))
        model.tile = (3, 4)
        tiled = model(x, torch.zeros(1), names, (T, P))
    torch.testing.assert_close(crop, torch.cat([whole[..., 2:6, 22:], whole[..., 2:6, :4]], -1))
    torch.testing.assert_close(tiled, whole)


def test_tiles_must_divide_the_map():
    with pytest.raises(ValueError, match="divide"):
        Downscaler(network(), Detail.fit(*pair()), (4, 5))
    with pytest.raises(ValueError, match="fine grid"):
        Downscaler(network(grid_shape=(4, 8)), Detail.fit(*pair()))


def test_the_loss_on_crops_is_that_of_the_cells_in_them(model):
    coarse, fine = pair()
    batch = model.samples(coarse, fine).batch(np.arange(4)[:, None])
    optimisation = Optimisation(steps=2, warmup_steps=1)
    crops = downscaling.OnCrops(model, optimisation, FINE.lat, crop=(6, 12))
    whole = Training(model, optimisation, FINE.lat)
    model.train()
    torch.testing.assert_close(crops.errors(batch), whole.errors(batch))  # the crop is the whole map, turned
    crops.eval()
    torch.testing.assert_close(crops.errors(batch), whole.errors(batch))
    # Zeros against ones: the mean of the weights of the rows that are there.
    for p in model.net.head.parameters():
        torch.nn.init.zeros_(p)
    ones = Batch(**{**batch.__dict__, "y": torch.ones_like(batch.y)})
    crops = downscaling.OnCrops(model, optimisation, FINE.lat, crop=(2, 3)).train()
    possible = {round(float(FINE.weights()[2 * r : 2 * r + 4].mean()), 4) for r in range(5)}
    with torch.no_grad():
        found = {round(float(crops.errors(ones)[0, 0]), 4) for _ in range(20)}
    assert found <= possible
    assert len(found) > 1


def test_a_file_gives_the_same_maps(model, tmp_path):
    coarse, _ = pair(5)
    model.tile = (3, 4)
    model.save(tmp_path / "d.safetensors")
    again = Downscaler.load(tmp_path / "d.safetensors")
    assert again.tile == (3, 4)
    for v in (T, P):
        np.testing.assert_allclose(again.downscale(coarse)[v], model.downscale(coarse)[v], rtol=1e-5, atol=1e-4)
    assert again.fresh().detail.unit == model.detail.unit


@pytest.fixture
def toy_world(monkeypatch):
    """The fine world is a toy: on warm days one cell in nine is warmer still, on cold days colder."""
    fine = maps(FINE, 24)
    lumps = np.zeros((3, 3))
    lumps[1, 1] = 1
    warm = 3 * np.random.default_rng(5).normal(size=(24, 1, 1))
    fine[T] = fine[T].copy(data=(280 + warm + 3 * warm * np.tile(lumps, COARSE.shape)).astype("float32"))
    monkeypatch.setattr(downscaling, "open_pairs", lambda *args: (coarsen(fine, COARSE), fine))
    monkeypatch.setattr(downscaling.sources, "version", lambda name: "toy")


@pytest.mark.parametrize("architecture", ["climax", "unet"])
def test_training_learns_a_detail_that_depends_on_the_day(toy_world, tmp_path, architecture):
    size = {"patch_size": 3, "embed_dim": 32, "depth": 1, "num_heads": 2}
    settings = Downscaling(
        "",
        crop=(2, 4),
        drop_path=0.0,
        net=Net(architecture=architecture, **size),
        optimisation=Optimisation(steps=60, learning_rate=1e-2, warmup_steps=5),
        run=Run(str(tmp_path / "run"), validate_every=30, save_every=60, precision="32-true", progress=False),
    )
    trained = downscaling.train(settings)
    assert trained.about["best_validation_loss"] < 0.9 * trained.about["starting_validation_loss"]
    assert (tmp_path / "run/forecaster.safetensors").exists()


def test_a_checkpoint_keeps_its_weights_and_rain_of_a_day_starts_as_rain_of_six_hours(tmp_path, monkeypatch):
    from climax_lite.forecaster import Forecaster

    names = (T, "total_precipitation_6hr", "orography")
    start = ClimaX(ClimaXConfig(names, COARSE.shape, 2, embed_dim=8, depth=1, num_heads=2))
    monkeypatch.setattr(downscaling, "load", lambda name: Forecaster(start))
    made = downscaling.untrained(Downscaling("tiny", crop=()), Detail.fit(*pair()))
    known = made.config.variables
    assert known[:3] == names
    weight = made.net.tokenizer.weight
    torch.testing.assert_close(weight[:3], start.tokenizer.weight)
    torch.testing.assert_close(weight[known.index(P)], start.tokenizer.weight[1])
    torch.testing.assert_close(made.net.blocks.state_dict(), start.blocks.state_dict())
    assert made.tile is None


# ---------------------------------------------------------------- scores


def test_the_embedded_pairs_are_daily_and_have_their_terrain():
    coarse, fine = downscaling.open_pairs("validation", variables=["t2m"])
    assert set(fine.data_vars) == {T, *STATIC}
    assert coarse[T].shape == (29, 32, 64)
    assert fine[T].shape == (29, 96, 192)
    np.testing.assert_array_equal(coarse.time, fine.time)
    np.testing.assert_allclose(
        np.average(coarse[T].mean(("time", "lon")), weights=Grid.from_dataset(coarse).weights("area")),
        np.average(fine[T].mean(("time", "lon")), weights=Grid.from_dataset(fine).weights("area")),
        rtol=1e-5,
    )
    other, same = downscaling.open_pairs("validation", coarse="sunny", variables=["t2m"])
    np.testing.assert_array_equal(other.time, same.time)
    assert float(abs(other[T] - coarse[T]).max()) > 5  # other weather
    with pytest.raises(ValueError, match="both sides"):
        downscaling.open_pairs("validation", coarse="sunny", variables=[P])


def test_scores_of_a_map_that_is_one_kelvin_too_warm():
    _, fine = pair(days=4)
    card = score(fine[[T]] + 1, fine)
    np.testing.assert_allclose(card["score"].sel(variable=T), [1, 1, 1], rtol=1e-5)
    assert np.isnan(card["low"]).all()  # four days are no four blocks
    assert card["scores"].dims == ("variable", "metric", "time")


def test_intervals_come_from_blocks_of_days():
    _, fine = pair(days=40)
    up = xr.DataArray(np.arange(40) / 40, dims="time", coords={"time": fine.time})
    card = score((fine[[T]] + up).transpose("time", "lat", "lon"), fine).sel(variable=T, metric="bias")
    assert float(card["low"]) < float(card["score"]) < float(card["high"])
    assert float(card["score"]) == pytest.approx(39 / 80, abs=1e-3)
