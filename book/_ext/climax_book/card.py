"""The `chapter-card` directive: what a chapter builds, what it asks for, and where to open it."""

from docutils import nodes
from docutils.parsers.rst import directives
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import docname_join, logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri

from .assets import learner_notebook

logger = logging.getLogger(__name__)

WORDS_PER_MINUTE = 180  # of technical prose with formulas
TIERS = {
    "tiny": "any laptop, no GPU; the data are in the repository",
    "colab": "one small GPU, such as Colab lends",
    "full": "one large GPU, or several",
}


class chapter_card(nodes.General, nodes.Element):
    """Stands for the card until all pages are read and executed."""


def comma_separated(argument: str) -> list[str]:
    return [item.strip() for item in argument.split(",") if item.strip()]


def tier_name(argument: str) -> str:
    return directives.choice(argument, tuple(TIERS))


class ChapterCard(SphinxDirective):
    option_spec = {  # noqa: RUF012 (the interface of docutils)
        "builds": comma_separated,
        "tier": tier_name,
        "exercise-minutes": directives.nonnegative_int,
        "needs": comma_separated,
    }

    def run(self) -> list[nodes.Node]:
        notebook = learner_notebook(self.env.app, self.env.docname)
        self.env.note_dependency(str(notebook))
        if not notebook.exists():
            logger.warning("no learner's notebook beside this page: run `make notebooks`", location=self.get_location())
        card = chapter_card()
        card.attributes.update(
            builds=self.options.get("builds", []),
            tier=self.options.get("tier", "tiny"),
            exercise_minutes=self.options.get("exercise-minutes", 0),
        )
        card.extend(self.link_to_page(name) for name in self.options.get("needs", []))
        return [card]

    def link_to_page(self, name: str) -> nodes.Element:
        """A link to a page named from this page's folder or, failing that, from the book's root; a wrong one warns."""
        beside = docname_join(self.env.docname, name) in self.env.found_docs
        link = addnodes.pending_xref(
            "",
            nodes.inline(),
            refdomain="std",
            reftype="doc",
            reftarget=name if beside else f"/{name}",
            refexplicit=False,
            refdoc=self.env.docname,
            refwarn=True,
        )
        link.source, link.line = self.get_source_info()
        return link


class FillCards(SphinxPostTransform):
    """Replace each card by its rows, now that the words and the run time are known."""

    default_priority = 1  # before references are resolved: `needs` are references

    def run(self, **kwargs: object) -> None:
        for card in list(self.document.findall(chapter_card)):
            rows = nodes.definition_list()
            if card["builds"]:
                names = [nodes.literal("", name) for name in card["builds"]]
                rows += row("You will build", *joined(names))
            if card.children:
                rows += row("You need", *joined(card.children))
            tier = nodes.inline("", card["tier"], classes=["tier"])
            rows += row("Hardware", tier, nodes.Text(" " + TIERS[card["tier"]]))
            rows += row("Time", nodes.Text(self.time(card["exercise_minutes"])))
            filled = nodes.container("", rows, self.links(), classes=["chapter-card"])
            card.replace_self(filled)

    def time(self, exercise_minutes: int) -> str:
        parts = [f"{max(1, round(words(self.document) / WORDS_PER_MINUTE))} min to read"]
        if exercise_minutes:
            parts.append(f"{exercise_minutes} min for rounds and exercises")
        executed = NbMetadataCollector.get_exec_data(self.env, self.env.docname)
        if executed and executed["runtime"]:
            parts.append(f"{duration(executed['runtime'])} to run, measured when this page was built")
        return ", ".join(parts)

    def links(self) -> nodes.paragraph:
        theme = self.config.html_theme_options
        launch = theme["launch_buttons"]
        repository = theme["repository_url"].removeprefix("https://github.com/")
        branch = theme["repository_branch"]
        docname = self.env.docname
        path = f"{theme['path_to_docs']}/{docname}.ipynb"
        page = self.app.builder.get_target_uri(docname)
        targets = {
            "Open in Colab": f"{launch['colab_url']}/github/{repository}/blob/{branch}/{path}",
            "Open in Binder": f"{launch['binderhub_url']}/v2/gh/{repository}/{branch}?urlpath=lab/tree/{path}",
            "Download notebook": relative_uri(page, f"_sources/{docname}.ipynb"),
        }
        links = nodes.paragraph(classes=["chapter-card-links"])
        for text, uri in targets.items():
            links += [nodes.reference("", text, refuri=uri, internal=False), nodes.Text(" ")]
        return links


def words(document: nodes.document) -> int:
    """The words of the prose: not those of code, of its outputs and of display formulas."""
    fixed = {id(text) for block in document.findall(nodes.FixedTextElement) for text in block.findall(nodes.Text)}
    return sum(len(text.split()) for text in document.findall(nodes.Text) if id(text) not in fixed)


def duration(seconds: float) -> str:
    minutes, rest = divmod(max(1, round(seconds)), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def joined(items: list[nodes.Node]) -> list[nodes.Node]:
    separated: list[nodes.Node] = []
    for item in items:
        separated += [nodes.Text(", "), item] if separated else [item]
    return separated


def row(term: str, *content: nodes.Node) -> nodes.definition_list_item:
    definition = nodes.definition("", nodes.paragraph("", "", *content))
    return nodes.definition_list_item("", nodes.term("", term), definition)


def setup(app: Sphinx) -> None:
    app.add_node(chapter_card)
    app.add_directive("chapter-card", ChapterCard)
    app.add_post_transform(FillCards)
