"""The command `climax-lite`."""

import subprocess
import sys

import pytest

from climax_lite import cli


def test_help_comes_without_the_machinery():
    code = "import sys; from climax_lite import cli; cli.main(['--help']); print(*[m for m in ('torch', 'xarray', 'jsonargparse') if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: climax-lite" in done.stdout
    assert all(name in done.stdout for name in cli.COMMANDS)
    assert done.stderr.split() == []


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ([], 2, "usage"),
        (["-h"], 0, "usage"),
        (["--version"], 0, "climax-lite "),
        (["fly"], 2, "expected one of data, pretrain, finetune, project, downscale, evaluate, forecast, got 'fly'"),
    ],
)
def test_first_word(words, status, says, capsys):
    assert cli.main(words) == status
    printed = capsys.readouterr()
    assert says in printed.out + printed.err


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (ValueError("expected this, got that"), 2, "climax-lite data: expected this, got that"),
        (
            ModuleNotFoundError("No module named 'zarr'", name="zarr"),
            2,
            r"needs the package zarr: pip install 'climax-lite\[cloud\]'",
        ),
        (KeyboardInterrupt(), 130, "the same command goes on from here"),
    ],
)
def test_what_a_user_can_cause_is_one_sentence(error, status, says, capsys, monkeypatch):
    class Broken:
        @staticmethod
        def main(argv):
            raise error

    monkeypatch.setattr(cli.importlib, "import_module", lambda name: Broken)
    assert cli.main(["data", "list"]) == status
    assert __import__("re").search(says, capsys.readouterr().err)


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "climax_lite.cli", "fly"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
