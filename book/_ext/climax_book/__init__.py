"""What this book adds to Jupyter Book: the chapter card, the roles of cells, an execution cache that knows the package
and the data, and pages that load nothing from a network."""

from sphinx.application import Sphinx

from . import assets, card, cells, execution


def setup(app: Sphinx) -> dict:
    for part in (assets, card, cells, execution):
        part.setup(app)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
