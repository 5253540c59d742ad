"""The package as a whole: light to import, and the README's lines run."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_import_is_light():
    code = (
        "import torch, xarray, sys, time; t = time.perf_counter(); import climax_lite; took = time.perf_counter() - t;"
        "print(took, *[m for m in ('lightning', 'pytorch_lightning', 'cartopy', 'matplotlib', 'ipywidgets', 'IPython') if m in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(3)
    ]
    assert all(len(r) == 1 for r in runs), f"heavy modules imported: {runs[0][1:]}"
    assert min(float(r[0]) for r in runs) < 0.5


def test_lazy_rooms_are_found_and_typos_are_not():
    code = "import climax_lite as cl; cl.plot.map; cl.widgets.glue; cl.check.Verdict; assert 'plot' in dir(cl); assert not hasattr(cl, 'plots')"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_lines_of_the_readme_run(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        subprocess.run(
            [sys.executable, "-c", "import matplotlib; matplotlib.use('Agg')\n" + block], check=True, cwd=tmp_path
        )


def test_one_address_of_the_repository():
    """Launch buttons, badges, the set-up cell and the citation must lead to one place."""
    found = set()
    for path in (
        "README.md",
        "_config.yml",
        "pyproject.toml",
        "CITATION.cff",
        "tools/notebooks.py",
        "climax_lite/data/sources.py",
    ):
        found |= set(
            re.findall(
                r"(?:github\.com|githubusercontent\.com|/gh|/github)/([\w.-]+/[\w.-]+?)(?:\.git)?(?=[/\"'\s)]|$)",
                (ROOT / path).read_text(),
            )
        )
    assert found == {"climax-lite/climax-lite"}
