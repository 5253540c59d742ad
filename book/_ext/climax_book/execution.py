"""Pages are executed once for each state of what their outputs come from, several side by side.

Sphinx reads page by page, and MyST-NB executes a page that it does not find in its cache. So the cache is filled before.
"""

import hashlib
import importlib.metadata
import os
import site
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.execute import ExecutionError
from myst_nb.core.read import create_nb_reader
from myst_nb.sphinx_ import NbMetadataCollector
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.display import status_iterator

logger = logging.getLogger(__name__)

INPUTS = (
    "climax_lite/**/*",
    "configs/**/*",
    "data/**/*",
    "benchmarks/**/*.json",  # the records that pages show, not the scripts that made them
    "benchmarks/**/*.md",
    "tests/golden/**/*",
    "requirements.lock",
)


def inputs(root: Path) -> Iterator[Path]:
    """The files, besides a page's own cells, that decide what the page shows."""
    generated = root / "data" / "generated"
    for pattern in INPUTS:
        for path in sorted(root.glob(pattern)):
            if path.is_file() and path.suffix != ".pyc" and generated not in path.parents:
                yield path


def cache_key(root: Path) -> str:
    """A digest of these files and of the environment: what is installed, whatever the lock says, and other data."""
    # Not all of sys.path: the folder in which a command runs is on it for some commands, and would change the key.
    packages = importlib.metadata.distributions(path=site.getsitepackages())
    installed = sorted(f"{package.name}=={package.version}" for package in packages)
    facts = [sys.version, *installed, os.environ.get("CLIMAX_LITE_DATA", "")]
    digest = hashlib.sha256("\n".join(facts).encode())
    for path in inputs(root):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def cache_folder(build: Path, key: str) -> Path:
    # jupyter-cache looks at the cells alone, so each key has a cache of its own.
    return build / ".jupyter_cache" / key


def configure(app: Sphinx, config: Config) -> None:
    # The path is a configuration value that Sphinx compares with the last build's: a new key also makes it read every
    # page again.
    key = cache_key(Path(app.srcdir).parent)
    config.nb_execution_cache_path = str(cache_folder(Path(app.outdir).parent, key))
    config.nb_execution_in_temp = True  # in an empty folder, as a learner's notebook may be


def execute_pages(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Execute what the cache lacks of the pages that Sphinx is about to read, in `execution_jobs` processes.

    Raises:
        ExecutionError: after all pages were tried, if some failed; each is a warning with its cell and its traceback.
    """
    config = env.mystnb_config
    if config.execution_mode != "cache":
        return
    root, key = Path(app.srcdir).parent, Path(config.execution_cache_path).name
    cache = get_cache(config.execution_cache_path)
    missing = {name: notebook for name in docnames if (notebook := read(env, name)) and not is_cached(cache, notebook)}
    if not missing:
        return
    failures = {}
    pool = ProcessPoolExecutor(max_workers=app.config.execution_jobs)
    try:
        running = {
            pool.submit(
                execute, missing[name], timeout=config.execution_timeout, allow_errors=config.execution_allow_errors
            ): name
            for name in longest_first(env, missing)
        }
        finished = status_iterator(
            as_completed(running), "executing pages... ", "purple", len(running), app.verbosity, running.__getitem__
        )
        for future in finished:
            name = running[future]
            if error := future.exception() or future.result().err:
                failures[name] = error
                message = "Executing notebook failed: %s\n%s"
                logger.warning(message, type(error).__name__, error, location=name, type="mystnb", subtype="exec")
                continue
            if cache_key(root) != key:
                raise ExecutionError(f"What {name} is computed from changed while it was executed: build again.")
            executed, seconds = future.result().nb, {"execution_seconds": future.result().time}
            bundle = CacheBundleIn(executed, env.doc2path(name), data=seconds)
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    finally:
        pool.shutdown(cancel_futures=True)
    if failures and config.execution_raise_on_error:
        raise ExecutionError(", ".join(sorted(failures))) from next(iter(failures.values()))


def read(env: BuildEnvironment, docname: str) -> NotebookNode | None:
    """The notebook that MyST-NB makes of a page, None if the page has no code."""
    path = Path(env.doc2path(docname))
    text = path.read_text(encoding="utf-8")
    reader = create_nb_reader(str(path), env.myst_config, env.mystnb_config, text)
    return reader and reader.read(text)


def is_cached(cache: JupyterCacheAbstract, notebook: NotebookNode) -> bool:
    try:
        cache.merge_match_into_notebook(notebook)
    except KeyError:  # no record, or one whose file was not written before a build was stopped
        return False
    return True


def longest_first(env: BuildEnvironment, docnames: Iterable[str]) -> list[str]:
    """By what the last build took for them, lest the longest ends alone; new pages before all."""
    return sorted(docnames, key=lambda name: -last_seconds(env, name))


def last_seconds(env: BuildEnvironment, docname: str) -> float:
    executed = NbMetadataCollector.get_exec_data(env, docname)
    return (executed and executed["runtime"]) or float("inf")


def execute(notebook: NotebookNode, **options):
    with TemporaryDirectory() as folder:
        return single_nb_execution(notebook, cwd=folder, **options)


def executed_outputs(root: Path, page: Path, sources: list[str]) -> list[list[NotebookNode]] | None:
    """The outputs of every cell of a page, from the book's last build.

    Args:
        root: The folder of the repository.
        page: The page's source file.
        sources: The code of its cells.

    Returns:
        None unless the build executed exactly these cells and all that they are computed from is as it was then.
    """
    folder = cache_folder(root / "_build", cache_key(root))
    if not folder.is_dir():
        return None
    cache = get_cache(folder)
    for record in cache.list_cache_records():
        # A build that was stopped may have left a record without its file.
        with suppress(KeyError):
            cells = cache.get_cache_bundle(record.pk).nb.cells
            if Path(record.uri) == page.resolve() and [cell.source for cell in cells] == sources:
                return [cell.outputs for cell in cells]
    return None


def setup(app: Sphinx) -> None:
    # Kernels inherit both: climax_lite.widgets then draws what works without a kernel, and pages that are executed side
    # by side do not wait for one another's threads.
    os.environ["CLIMAX_LITE_STATIC"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    app.add_config_value("execution_jobs", 2, "")
    app.connect("config-inited", configure)
    app.connect("env-before-read-docs", execute_pages)
