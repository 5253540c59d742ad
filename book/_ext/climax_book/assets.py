"""The built book's own files: vendored scripts, and the learner's notebooks."""

import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def copy_vendored(app: Sphinx) -> None:
    # Not through html_static_path: Jupyter Book adds every script it finds in those folders to every page.
    if app.builder.format == "html":
        shutil.copytree(Path(app.srcdir) / "_vendor", Path(app.outdir) / "_static", dirs_exist_ok=True)


def learner_notebook(app: Sphinx, docname: str) -> Path:
    return Path(app.srcdir) / f"{docname}.ipynb"


def offer_learner_notebook(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    # The theme offers the executed page for download; a learner wants the notebook in which to write.
    notebook = learner_notebook(app, pagename)
    if "ipynb_source" in context and notebook.exists():
        shutil.copy2(notebook, Path(app.outdir) / "_sources" / context["ipynb_source"])


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", copy_vendored)
    app.connect("html-page-context", offer_learner_notebook, priority=600)  # after the theme's, at 501
