"""What the tags of a code cell do to the page. `stub` and `check` are a matter of style alone, see custom.css."""

from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideInputCells
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class FoldSolutions(SphinxPostTransform):
    """Fold cells tagged `solution`, with their output."""

    default_priority = HideInputCells.default_priority - 1  # which does the folding
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        for node in self.document.findall(nodes.container):
            if "tag_solution" in node["classes"]:
                node.attributes.update(hide_mode="all", prompt_show="Solution", prompt_hide="Solution")


def name_folds(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    # MyST-NB gives all its folds one label, which screen readers then say in place of "Solution".
    if "body" in context:
        context["body"] = context["body"].replace(' aria-label="Toggle hidden content"', "")


def setup(app: Sphinx) -> None:
    app.add_post_transform(FoldSolutions)
    app.connect("html-page-context", name_folds)
