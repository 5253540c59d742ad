"""Scores against hand-derived values and against the official ClimaX code (`golden/metrics.npz`)."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from climax_lite import metrics

LAT3 = [-60.0, 0.0, 60.0]  # weights 0.75, 1.5, 0.75


@pytest.fixture(scope="module")
def golden():
    return np.load(Path(__file__).parent / "golden/metrics.npz")


@pytest.fixture(scope="module")
def fields(golden):
    return [torch.tensor(golden[k]) for k in ("pred", "y", "clim", "lat")]


def close(got, *expected):
    np.testing.assert_allclose(np.asarray(got, dtype=np.float64), np.array(expected, dtype=np.float64), rtol=2e-6)


class TestOfficialNumbers:
    def test_mse_and_loss(self, golden, fields):
        p, y, _, lat = fields
        close(metrics.mse(p, y, lat), golden["mse/a"], golden["mse/b"])
        close(metrics.latitude_weighted_mse(p, y, lat), *golden["mse/loss"].ravel())

    def test_rmse(self, golden, fields):
        p, y, _, lat = fields
        close(metrics.rmse(p, y, lat), golden["rmse/w_rmse_a_x"], golden["rmse/w_rmse_b_x"])

    def test_acc(self, golden, fields):
        p, y, clim, lat = fields
        close(metrics.acc_climax(p, y, clim, lat), golden["acc_official/acc_a_x"], golden["acc_official/acc_b_x"])

    @pytest.mark.parametrize("name", ["nrmse_s", "nrmse_g", "nrmse"])
    def test_climatebench(self, golden, fields, name):
        p, y, _, lat = fields
        key = {"nrmse_s": "w_nrmses", "nrmse_g": "w_nrmseg", "nrmse": "w_nrmse"}[name]
        got = getattr(metrics, name)(p, y, lat, normalizer=float(golden["nrmse_normalization"]))
        close(got, golden[f"nrmse/{key}_a"], golden[f"nrmse/{key}_b"])


class TestByHand:
    """One variable on three rows and two columns."""

    target = torch.zeros(2, 1, 3, 2, dtype=torch.float64)

    def error_of_two_on_the_equator(self):
        p = self.target.clone()
        p[0, 0, 1] = 2.0  # first sample: error 2 along the equator, none elsewhere; second sample: none
        return p

    def test_mse(self):
        # sample 1: 1.5 · 4 over three rows = 2; mean over two samples = 1
        close(metrics.mse(self.error_of_two_on_the_equator(), self.target, LAT3), 1.0)

    def test_the_two_rmses(self):
        p = self.error_of_two_on_the_equator()
        close(metrics.rmse(p, self.target, LAT3), np.sqrt(2) / 2)
        close(metrics.rmse_pooled(p, self.target, LAT3), 1.0)

    def test_bias(self):
        close(metrics.bias(self.error_of_two_on_the_equator(), self.target, LAT3), 0.5)

    def test_an_error_at_60_degrees_counts_half(self):
        equator, north = self.target.clone(), self.target.clone()
        equator[:, :, 1], north[:, :, 2] = 1.0, 1.0
        close(metrics.mse(equator, self.target, LAT3) / metrics.mse(north, self.target, LAT3), 2.0)

    def test_acc_is_one_for_a_scaled_anomaly_and_minus_one_for_its_opposite(self):
        clim = torch.full((1, 3, 2), 5.0, dtype=torch.float64)
        anomaly = torch.arange(12.0, dtype=torch.float64).reshape(2, 1, 3, 2) - 3
        close(metrics.acc(clim + 0.3 * anomaly, clim + anomaly, clim, LAT3), 1.0)
        close(metrics.acc(clim - anomaly, clim + anomaly, clim, LAT3), -1.0)

    def test_acc_keeps_a_mean_error_and_climax_removes_it(self):
        clim = torch.zeros(1, 3, 2, dtype=torch.float64)
        target = torch.tensor([1.0, -1.0]).double().expand(1, 1, 3, 2)
        close(metrics.acc_climax(target + 10, target, clim, LAT3), 1.0)
        # Σ p t = 2·1 per row pair → (11·1 + (−9)(−1)) / √((121 + 81)·2) = 2/√404·10
        close(metrics.acc(target + 10, target, clim, LAT3), 2 / np.sqrt(202 * 2))

    def test_pearson_knows_no_offset_and_no_scale(self):
        target = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        close(metrics.pearson(7 + 3 * target, target, LAT3), 1.0, 1.0)

    def test_climatebench_of_a_constant_offset(self):
        target = torch.full((4, 1, 3, 2), 2.0, dtype=torch.float64)
        close(metrics.nrmse_s(target + 1, target, LAT3), 0.5)
        close(metrics.nrmse_g(target + 1, target, LAT3), 0.5)
        close(metrics.nrmse(target + 1, target, LAT3), 3.0)


ALL = ("mse", "rmse", "rmse_pooled", "bias", "acc", "acc_climax", "pearson", "nrmse_s", "nrmse_g", "nrmse")


@pytest.mark.parametrize("name", ALL)
def test_names_and_tensors_agree(fields, name):
    p, y, clim, lat = fields
    dims = {"lat": lat.numpy(), "lon": np.arange(64) * 5.625, "time": np.arange(len(p))}

    def named(x):
        axes = ("time", "lat", "lon")[-(x.ndim - 1) :]
        return xr.Dataset({v: (axes, x[..., i, :, :].numpy()) for i, v in enumerate("ab")}, {k: dims[k] for k in axes})

    score = getattr(metrics, name)
    extra = (clim,) if name.startswith("acc") else ()
    by_tensor = score(p, y, *extra, lat)
    by_name = score(named(p), named(y), *(named(e) for e in extra))
    np.testing.assert_allclose([float(by_name[v]) for v in "ab"], by_tensor.numpy(), rtol=1e-4)
    backwards = score(named(p).isel(lat=slice(None, None, -1)).sortby("lat"), named(y), *(named(e) for e in extra))
    np.testing.assert_allclose([float(backwards[v]) for v in "ab"], by_tensor.numpy(), rtol=1e-4)


def test_other_dimensions_stay():
    x = xr.DataArray(
        np.ones((2, 5, 3, 4)),
        dims=("lead", "time", "lat", "lon"),
        coords={"lat": LAT3, "lon": np.arange(4) * 90.0, "lead": [6, 24]},
    )
    score = metrics.rmse(3 * x, x)
    assert score.dims == ("lead",)
    close(score, 2.0, 2.0)


def test_a_sample_alone_scores_as_in_a_batch(fields):
    p, y, clim, lat = fields
    each = torch.stack([metrics.acc(p[i : i + 1], y[i : i + 1], clim, lat) for i in range(len(p))])
    torch.testing.assert_close(each.mean(0), metrics.acc(p, y, clim, lat))


def test_the_official_acc_depends_on_the_batch():
    # Two days, one warmer and one colder than the climatology everywhere; the patterns within a day are unrelated.
    day = torch.tensor([5.0, -5.0]).reshape(2, 1, 1, 1)
    p = day + torch.tensor([1.0, -1.0]).expand(2, 1, 3, 2)
    y = day + torch.tensor([1.0, 1.0, -1.0])[:, None].expand(2, 1, 3, 2) - torch.tensor([0.5, 0.5, 0.5])[:, None]
    clim = torch.zeros(1, 3, 2)
    together = metrics.acc_climax(p, y, clim, LAT3)
    alone = torch.stack([metrics.acc_climax(p[i : i + 1], y[i : i + 1], clim, LAT3) for i in range(2)]).mean(0)
    assert together > 0.9
    assert alone.abs() < 0.1
    torch.testing.assert_close(
        torch.stack([metrics.acc(p[i : i + 1], y[i : i + 1], clim, LAT3) for i in range(2)]).mean(0),
        metrics.acc(p, y, clim, LAT3),
    )


def test_the_loss_has_a_gradient_and_takes_any_layout():
    p = torch.randn(2, 3, 5, 6, requires_grad=True)
    lat = [-72.0, -36.0, 0.0, 36.0, 72.0]
    target = torch.zeros(2, 3, 6, 5).transpose(-1, -2)  # not contiguous
    metrics.latitude_weighted_mse(p, target, lat).backward()
    weights = torch.cos(torch.deg2rad(torch.tensor(lat)))
    torch.testing.assert_close(p.grad, 2 * p.detach() * (weights / weights.mean())[:, None] / p.numel())


def test_a_non_finite_loss_is_not_hidden_in_training():
    p = torch.full((1, 1, 3, 2), float("nan"), requires_grad=True)
    assert not torch.isfinite(metrics.latitude_weighted_mse(p, torch.zeros(1, 1, 3, 2), LAT3))


X = torch.zeros(2, 1, 3, 2)


def named(values=0.0, lat=LAT3, times=2):
    return xr.DataArray(
        np.full((times, 3, 2), values),
        dims=("time", "lat", "lon"),
        coords={"lat": lat, "lon": [0.0, 180.0], "time": np.arange(times)},
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: metrics.rmse(X, X), "expected the latitudes in degrees as `lat`"),
        (lambda: metrics.rmse(X, X[:1], LAT3), "one shape"),
        (lambda: metrics.rmse(X[0], X[0], LAT3), r"\(batch, variable, lat, lon\)"),
        (lambda: metrics.rmse(X, X, [0.0, 1.0]), "2 latitudes for 3 rows"),
        (lambda: metrics.rmse(X, X, [0.0, 91.0, 2.0]), "within ±90"),
        (lambda: metrics.rmse(X.log() - X.log(), X, LAT3), "12 NaN or infinite ones in the prediction"),
        (lambda: metrics.rmse(named(np.nan), named()), "NaN or infinity in the prediction"),
        (lambda: metrics.rmse(named(), named(), LAT3), "carries its own latitudes"),
        (lambda: metrics.rmse(named(times=3), named()), "same times, latitudes and longitudes"),
        (
            lambda: metrics.rmse(named(), named().rename(lat="latitude")),
            "expected dimensions 'lat' and 'lon' in the target",
        ),
        (lambda: metrics.rmse(named(lat=LAT3[::-1]), named(lat=LAT3[::-1])), "from south to north"),
        (lambda: metrics.rmse(X, named()), "expected the prediction as xarray"),
        (lambda: metrics.rmse(named(), named(), over=("init",)), r"cannot average over \['init'\]"),
    ],
)
def test_bad_input_gets_a_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# ---------------------------------------------------------------- spectra


def waves(lat, columns=16):
    """cos 3λ on the first row, 2 cos 8λ on the second, 9 cos λ on the third, …"""
    lon = np.deg2rad(np.arange(columns) * 360 / columns)
    rows = [np.cos(3 * lon), 2 * np.cos(8 * lon), 9 * np.cos(lon), 5 * np.cos(2 * lon)][: len(lat)]
    return xr.DataArray(np.stack(rows)[None], {"time": [0], "lat": lat}, ("time", "lat", "lon"), "x")


def test_the_spectrum_of_a_wave_is_its_variance_at_its_number():
    found = metrics.zonal_spectrum(waves([40.0, 50.0, 80.0]))
    cos = np.cos(np.deg2rad([40.0, 50.0]))
    wanted = np.zeros(8)
    wanted[2], wanted[7] = (
        [0.5, 4] * cos / cos.sum()
    )  # a cosine has variance 1/2; the shortest wave alternates, and has 1
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_array_equal(found.wavenumber, np.arange(1, 9))


def test_a_spectrum_sums_to_the_variance_along_the_rows():
    for columns in (15, 16):
        maps = xr.DataArray(
            np.random.default_rng(0).normal(3, 2, (2, 5, 3, columns)),
            {"lat": [-20.0, 0.0, 60.0]},
            ("level", "time", "lat", "lon"),
        )
        cos = np.cos(np.deg2rad(maps.lat))
        wanted = maps.var("lon").weighted(cos).mean()
        np.testing.assert_allclose(metrics.zonal_spectrum(maps, -90, 90).sum(), wanted)
        turned = maps.transpose("lon", "lat", "time", "level")
        np.testing.assert_allclose(metrics.zonal_spectrum(turned, -90, 90).sum(), wanted)


def test_both_hemispheres():
    maps = waves([-50.0, -10.0, 10.0, 50.0])
    both = metrics.zonal_spectrum(maps, 30, 60, both=True)
    south, north = metrics.zonal_spectrum(maps, -60, -30), metrics.zonal_spectrum(maps, 30, 60)
    np.testing.assert_allclose(both, (south + north) / 2)
    assert float(both.sel(wavenumber=3)) > 0.2


def test_a_belt_without_rows_is_refused():
    with pytest.raises(ValueError, match="between 85 and 90 degrees"):
        metrics.zonal_spectrum(waves([40.0, 50.0]), 85, 90)
