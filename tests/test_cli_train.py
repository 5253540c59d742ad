"""`climax-lite pretrain | finetune | evaluate | forecast`: settings from three places, sentences for mistakes, and one whole way through."""

import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
import yaml

from climax_lite import cli, commands, train
from climax_lite.tasks.settings import Downscaling, Projection
from climax_lite.train.settings import Finetune, Pretrain
from tests.toys import own_world

ROOT = Path(__file__).parents[1]
CONFIG = """
sources: [windy, dry]
leads: [6, 24]
optimisation: {steps: 7, warmup_steps: 2, learning_rate: 5e-4}
tiers:
  small: {net: {depth: 2}, optimisation: {steps: 9}}
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG)
    return str(tmp_path / "c.yaml")


class TestSettings:
    def test_the_file_the_tier_and_the_command_line_in_this_order(self, config):
        def read(*words):
            return commands.read_settings("pretrain", Pretrain, "", words)

        assert read() == Pretrain()
        alone = read(config)
        assert (alone.sources, alone.leads, alone.optimisation.steps, alone.net.depth) == (
            ("windy", "dry"),
            (6, 24),
            7,
            6,
        )
        assert alone.optimisation.learning_rate == 5e-4
        small = read(config, "--tier", "small")
        assert (small.optimisation.steps, small.optimisation.warmup_steps, small.net.depth) == (9, 2, 2)
        over = read(config, "--tier=small", "--optimisation.steps", "5", "--sources", "[sunny]")
        assert (over.optimisation.steps, over.net.depth, over.sources) == (5, 2, ("sunny",))
        assert isinstance(over.leads, tuple)

    def test_printing_the_result_runs_nothing(self, config, capsys, monkeypatch):
        monkeypatch.setattr(train, "pretrain", lambda settings: pytest.fail("it ran"), raising=False)
        assert cli.main(["pretrain", config, "--tier", "small", "--print_config"]) == 0
        printed = capsys.readouterr().out
        assert yaml.safe_load(printed)["optimisation"]["steps"] == 9
        Path(config).write_text(printed)  # and what is printed is a configuration again
        again = commands.read_settings("pretrain", Pretrain, "", [config])
        assert (again.net.depth, again.leads) == (2, (6, 24))

    @pytest.mark.parametrize("tier", ["tiny", "colab", "full"])
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("pretrain", Pretrain),
            ("global_forecasting", Finetune),
            ("regional_forecasting", Finetune),
            ("subseasonal", Finetune),
            ("projection", Projection),
            ("downscaling", Downscaling),
        ],
    )
    def test_the_configurations_that_come_along(self, name, kind, tier):
        settings = commands.read_settings(name, kind, "", [str(ROOT / f"configs/{name}.yaml"), "--tier", tier])
        assert settings.run.out == f"runs/{name}_{tier}"
        size = settings.net
        assert (size.patch_size, size.embed_dim, size.depth) == {
            "tiny": (4, 192, 6),
            "colab": (4, 384, 6),
            "full": (4 if name == "downscaling" else 2, 1024, 8),
        }[tier]
        assert not size.embed_dim % size.num_heads

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["nowhere.yaml"], r"nowhere.yaml could not be read \(No such file or directory\): give a YAML file"),
            (["CONFIG", "--tier", "huge"], "has no tier 'huge': expected small"),
            (["--tier", "tiny"], "expected the YAML file that has the tier 'tiny' before it"),
            (["CONFIG", "--tier"], "argument --tier: expected one argument"),
            (["CONFIG", "--optimisation.step", "5"], "did you mean optimisation.steps"),
            (["CONFIG", "--optimisation.steps", "many"], "optimisation.steps.*Expected.*int.*Got value: many"),
            (["CONFIG", "--optimisation.steps", "1"], "expected 0 <= warmup_steps <= steps, got 2 of 1"),
            (["CONFIG", "stray"], "stray"),
            (["WRONG-key: 1"], "unknown setting 'WRONG-key'"),
            (["net: {dept: 1}"], r"unknown setting 'net.dept': did you mean net.depth"),
            (["net: 3"], "unknown setting 'net'"),
            (["optimisation: {steps: many}"], "optimisation.steps.*Expected"),
            (["just words"], "expected settings such as 'seed: 0', got str"),
            (["a: [1"], "is not YAML"),
        ],
    )
    def test_a_mistake_is_one_sentence(self, words, says, config, tmp_path, capsys):
        if ":" in words[0] or " " in words[0]:
            (tmp_path / "w.yaml").write_text(words[0])
            words = [str(tmp_path / "w.yaml")]
        words = [config if w == "CONFIG" else w for w in words]
        assert cli.main(["pretrain", *words]) == 2
        said = capsys.readouterr().err
        assert len(said.strip().splitlines()) == 1
        assert __import__("re").search(says, said), said


@pytest.mark.parametrize("command", ["pretrain", "finetune", "evaluate", "forecast"])
def test_help_needs_neither_torch_nor_lightning(command):
    code = (
        f"import sys; from climax_lite import cli\ntry:\n    cli.main(['{command}', '--help'])\nfinally:\n"
        "    print(*[m for m in ('torch', 'lightning') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert f"usage: climax-lite {command}" in done.stdout
    assert "examples:" in done.stdout
    assert done.stderr.split() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["evaluate"], "required: checkpoints"),
        (["evaluate", "nothing"], "unknown checkpoint 'nothing'"),
        (["evaluate", "nothing", "--leads", "soon"], "leads.*Got value: soon"),
        (
            ["evaluate", "nothing", "--out", "scores.txt"],
            "expected --out to end in .csv or .nc or .zarr, got 'scores.txt'",
        ),
        (["evaluate", "nothing", "--out", "HERE.nc"], "HERE.nc exists: give another --out, or --overwrite"),
        (["evaluate", "tiny", "--task", "seasonal"], "unknown task 'seasonal': expected one of 'global', 'regional'"),
        (
            ["evaluate", "tiny", "--task", "weeks 3-4"],
            r"about the window \(336, 672\), and these checkpoints give None",
        ),
        (["project", "nowhere.yaml"], "nowhere.yaml could not be read"),
        (["downscale", "--crop", "[8]", "--run.out", "x"], "expected rows and columns of patches for crop"),
        (["forecast", "nothing", "--out", "fc.grib"], "expected --out to end in .nc or .zarr"),
        (["forecast", "nothing", "--when", "now"], "unrecognized arguments: --when now"),
        (["forecast", "nothing"], "unknown checkpoint 'nothing'"),
    ],
)
def test_mistakes_with_forecasts(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("HERE.nc").touch()
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert __import__("re").search(says, said), said


def test_an_interrupt_is_no_failure(config, capsys, monkeypatch):
    """Lightning ends an interrupted run with exit(1) from within the handler."""

    def interrupted(settings):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    monkeypatch.setattr(train, "pretrain", interrupted, raising=False)
    assert cli.main(["pretrain", config]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "extra"), [("lightning.pytorch", "train"), ("tensorboard", "tensorboard"), ("zarr", "cloud")]
)
def test_the_extra_that_is_missing_is_named(package, extra, capsys, monkeypatch):
    def missing(argv):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(commands, "pretrain", missing)
    assert cli.main(["pretrain"]) == 2
    assert f"needs the package {package.split('.')[0]}: pip install 'climax-lite[{extra}]'" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_from_nothing_to_a_forecast(tmp_path, capsys, monkeypatch):
    """Pretrain, fine-tune, evaluate and forecast, on a world of four by eight cells in a file of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("climax_lite.data.normalize.pooch.os_cache", lambda name: tmp_path / "cache")
    source = own_world(Path("world"))
    (tmp_path / "c.yaml").write_text(
        "net: {grid_shape: [4, 8], patch_size: 2, embed_dim: 8, depth: 1, num_heads: 2}\n"
        "leads: [12, 24]\noptimisation: {steps: 2, warmup_steps: 1}\n"
        "run: {accelerator: cpu, precision: 32-true, batch_size: 4, progress: false, records: records}\n"
    )
    assert (
        cli.main(
            [
                "pretrain",
                "c.yaml",
                "--sources",
                f"['{source}']",
                "--validation",
                f"{source}:validation",
                "--run.out",
                "pre",
            ]
        )
        == 0
    )
    assert "pre/forecaster.safetensors is whole" in capsys.readouterr().out
    assert len(list(Path("records").iterdir())) == 2
    assert cli.main(["pretrain", "c.yaml", "--sources", f"['{source}']", "--run.out", "pre", "--run.seed", "1"]) == 2
    assert "holds a run with other settings (run.seed" in capsys.readouterr().err
    words = [
        "finetune",
        "c.yaml",
        "--checkpoint",
        "pre",
        "--source",
        source,
        "--run.out",
        "fine",
        "--run.validate_every",
        "1",
    ]
    assert cli.main(words) == 0
    assert (
        cli.main(
            ["evaluate", "pre", "fine", "--source", source, "--leads", "12", "24", "--every", "96", "--out", "s.csv"]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "T2m RMSE (K)" in printed
    rows = Path("s.csv").read_text().splitlines()
    assert {r.split(",")[0] for r in rows[1:]} == {"pre", "fine", "persistence", "climatology", "damped persistence"}

    # A checkpoint of a region is scored on it without being told; the task says which leads and which box.
    box = [*words[:-4], "--run.out", "box", "--region", "NorthAmerica", "--leads", "[12, 24]"]
    assert cli.main(box) == 0
    capsys.readouterr()
    scored = ["evaluate", "box", "--source", source, "--every", "96"]
    assert cli.main([*scored, "--leads", "24"]) == 0
    assert "region: Region(south=15" in capsys.readouterr().out
    assert cli.main([*scored, "--task", "regional", "--variables", "z500"]) == 0
    printed = capsys.readouterr().out
    assert "region: NorthAmerica" in printed
    assert "3 d" in printed
    assert "linear model" in printed
    assert cli.main(["evaluate", "fine", *scored[2:], "--leads", "24", "--region", "NorthAmerica"]) == 0
    assert "region: NorthAmerica" in capsys.readouterr().out

    forecast = [
        "forecast",
        "fine",
        "--initial",
        "world/toy.nc",
        "--time",
        "1986-03-01T00",
        "1986-03-02T12",
        "--leads",
        "12",
        "36",
    ]
    assert cli.main([*forecast, "--method", "rollout", "--variables", "t2m", "--out", "fc.zarr"]) == 0
    fc = xr.open_dataset("fc.zarr")
    assert dict(fc.sizes) == {"time": 2, "prediction_timedelta": 2, "lat": 4, "lon": 8}
    assert fc["2m_temperature"].attrs["units"] == "K"
    assert "checkpoint fine" in fc.attrs["source"]
    capsys.readouterr()
    for words, says in (
        ([*forecast, "--out", "fc.zarr"], "fc.zarr exists"),
        (
            ["forecast", "fine", "--initial", "world/toy.nc"],
            "times from 1985-01-01T00:00 to 1986-04-30T12:00: choose with --time",
        ),
        (
            ["forecast", "fine", "--initial", "world/toy.nc", "--time", "1986-03-01T06"],
            "no time 1986-03-01T06, the nearest is 1986-03-01T0",
        ),
        (
            ["forecast", "fine", "--initial", "world/toy.nc", "--time", "soon"],
            "expected a time such as 1986-07-01T00, got 'soon'",
        ),
        (
            ["forecast", "pre", "--initial", "world/toy.nc", "--time", "1986-03-01"],
            "give --statistics with one of reference",
        ),
    ):
        assert cli.main(words) == 2
        assert says in capsys.readouterr().err
    assert cli.main([*forecast, "--statistics", source, "--out", "fc.nc"]) == 0

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.Dataset, "to_netcdf", interrupted)
    assert cli.main([*forecast, "--out", "other.nc"]) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert not list(tmp_path.glob("other*"))
