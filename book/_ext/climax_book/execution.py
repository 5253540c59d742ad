"""Pages are executed once for each state of the code and the data that their outputs come from."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config


def inputs(root: Path) -> Iterator[Path]:
    """The files, besides a page's own cells, that decide what the page shows."""
    yield from sorted((root / "climax_lite").rglob("*.py"))
    generated = root / "data" / "generated"
    yield from sorted(p for p in (root / "data").rglob("*") if p.is_file() and generated not in p.parents)
    lock = root / "requirements.lock"
    if lock.exists():
        yield lock


def cache_key(root: Path) -> str:
    digest = hashlib.sha256()
    for path in inputs(root):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def choose_cache(app: Sphinx, config: Config) -> None:
    # jupyter-cache looks at the cells alone, so each key has a cache of its own. The path is a configuration value that
    # Sphinx compares with the last build's: a new key also makes it read every page again.
    root = Path(app.srcdir).parent
    config.nb_execution_cache_path = str(Path(app.outdir).parent / ".jupyter_cache" / cache_key(root))


def setup(app: Sphinx) -> None:
    # Kernels inherit it: climax_lite.widgets then draws what works without a kernel.
    os.environ["CLIMAX_LITE_STATIC"] = "1"
    app.connect("config-inited", choose_cache)
