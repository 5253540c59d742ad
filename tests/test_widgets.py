import base64
import io
import re
import subprocess
import sys
import types

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from climax_lite import widgets
from climax_lite.widgets import explore, frame_slider, glue


def png(colour, mode="RGB", size=(4, 3)):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, format="png")
    return buffer.getvalue()


RED, BLUE = png("red"), png("blue")


def draw(level, lead=6):
    figure, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, level], [0, lead])
    return figure


@pytest.fixture
def page(monkeypatch):
    monkeypatch.setenv("CLIMAX_LITE_STATIC", "1")


@pytest.fixture(autouse=True)
def _no_page_by_accident(monkeypatch):
    monkeypatch.delenv("CLIMAX_LITE_STATIC", raising=False)


def test_importing_it_imports_nothing_heavy():
    heavy = "{'ipywidgets', 'matplotlib', 'IPython', 'myst_nb', 'PIL'}"
    code = f"import sys, climax_lite.widgets; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


class TestGlue:
    @pytest.fixture
    def glued(self, monkeypatch):
        calls = {}
        module = types.ModuleType("myst_nb")
        module.glue = lambda name, text, display: calls.update({name: (text, display)})
        monkeypatch.setitem(sys.modules, "myst_nb", module)
        return calls

    @pytest.mark.parametrize("value", [3.1, np.float32(3.1), np.array([3.1])])
    def test_a_page_gets_the_formatted_text(self, page, glued, value):
        glue("a_score", value, ".2f")
        assert glued == {"a_score": ("3.10", False)}

    @pytest.mark.parametrize(
        ("value", "fmt", "text"),
        [
            (-3.1, ".2f", "−3.10"),
            (np.float32(-3.1), "+.1f", "−3.1"),
            (-12345, ",", "−12,345"),
            (2e-7, ".0e", "2e−07"),
            (3.1, "+.1f", "+3.1"),
            ("2m_temperature - 1985-01-01", "", "2m_temperature - 1985-01-01"),
            (np.datetime64("1985-01-01"), "", "1985-01-01"),
        ],
    )
    def test_a_number_has_a_minus_sign_and_a_text_keeps_its_hyphens(self, page, glued, value, fmt, text):
        glue("a_score", value, fmt)
        assert glued == {"a_score": (text, False)}

    def test_a_notebook_gets_nothing(self, glued):
        glue("a_score", 3.1)
        assert glued == {}

    def test_the_page_shows_digits_and_no_quotes(self):
        variables = pytest.importorskip("myst_nb.core.variables")
        # glue:text reads back the repr of what was glued.
        assert variables.format_plain_text(repr(format(3.1, ".2f")), "s") == "3.10"

    @pytest.mark.parametrize("key", ["Score", "a score", "a-score", "_a", ""])
    def test_a_key_is_a_phrase(self, key):
        with pytest.raises(ValueError, match="phrase in lower case"):
            glue(key, 1)

    @pytest.mark.parametrize(("value", "fmt"), [(np.zeros(2), ".1f"), ("text", ".1f"), (None, "d")])
    def test_a_value_that_the_format_does_not_fit(self, value, fmt):
        with pytest.raises(ValueError, match="'a_score' must be one value"):
            glue("a_score", value, fmt)


class TestFrameSlider:
    def test_the_first_frame_is_seen_without_javascript_and_dead_controls_are_not(self):
        text = frame_slider([RED, BLUE], ["0 h", "6 h"], alt="A map")._repr_html_()
        images = re.findall(r"<img[^>]*>", text)
        assert [" hidden" in image for image in images] == [False, True]
        assert ['alt="A map (0 h)"' in images[0], 'alt="A map (6 h)"' in images[1]] == [True, True]
        assert '<div class="climax-frames-controls" hidden>' in text

    def test_it_loads_nothing(self):
        text = frame_slider([RED, BLUE], "ab", alt="A map")._repr_html_()
        assert "http" not in text
        assert set(re.findall(r'src="(.{22})', text)) == {"data:image/png;base64,"}

    def test_the_same_content_gives_the_same_bytes_and_other_content_another_name(self):
        first, again = (frame_slider([draw(1), draw(2)], "ab", alt="A map")._repr_html_() for _ in range(2))
        assert first == again
        names = {
            re.search(r'data-climax-frames="(\w+)"', frame_slider(frames, "ab", alt="A map")._repr_html_())[1]
            for frames in ([RED, BLUE], [BLUE, RED])
        }
        assert len(names) == 2

    def test_figures_are_closed_so_that_they_are_not_shown_twice(self):
        figure = draw(1)
        frame_slider([figure], "a", alt="A line")
        assert not plt.fignum_exists(figure.number)

    def test_frames_of_equal_figures_have_equal_sizes_whatever_the_style(self):
        figures = [draw(1), draw(1e9)]
        with plt.rc_context({"savefig.bbox": "tight"}):
            sizes = {Image.open(io.BytesIO(frame)).size for frame in frame_slider(figures, "ab", alt="x").frames}
        assert sizes == {(widgets.DPI, widgets.DPI)}

    def test_paths_are_read(self, tmp_path):
        (tmp_path / "red.png").write_bytes(RED)
        slider = frame_slider([tmp_path / "red.png", str(tmp_path / "red.png")], "ab", alt="Red")
        assert slider.frames[0] == slider.frames[1]

    def test_each_frame_may_have_its_own_alt_text(self):
        assert frame_slider([RED, BLUE], "ab", alt=["Red", "Blue"]).alts == ("Red", "Blue")

    def test_texts_are_escaped(self):
        text = frame_slider([RED], ['<b>"'], alt='a "quoted" <map>', caption="x < y & z")._repr_html_()
        assert "<b>" not in text
        assert "<map>" not in text
        assert "x &lt; y &amp; z" in text

    @pytest.mark.parametrize(("mode", "colour"), [("RGB", (10, 200, 30)), ("RGBA", (10, 200, 30, 0))])
    def test_fewer_colours_change_no_flat_picture(self, mode, colour):
        original = png(colour, mode)
        (frame,) = frame_slider([original], "a", alt="A colour").frames
        assert len(frame) <= len(original)
        assert Image.open(io.BytesIO(frame)).convert(mode).getpixel((1, 1)) == colour

    def test_a_smooth_map_gets_smaller_and_keeps_its_colours(self):
        figure, ax = plt.subplots(figsize=(4, 2))
        ax.imshow(np.add.outer(np.linspace(0, 1, 64), np.linspace(0, 1, 128)), aspect="auto")
        original = widgets._png(figure)
        (reduced,) = widgets._small([original])
        assert len(reduced) < 0.6 * len(original)
        before, after = (np.array(Image.open(io.BytesIO(p)).convert("RGB"), dtype=float) for p in (original, reduced))
        assert np.abs(before - after).mean() < 4

    def test_the_ground_stays_white_and_rare_colours_their_own(self):
        """A calm field with one sharp extreme at each end, as anomalies have."""
        figure, ax = plt.subplots(figsize=(6, 3))
        x, y = np.meshgrid(np.linspace(-3, 3, 120), np.linspace(-1.5, 1.5, 60))
        field = (
            0.2 * np.sin(3 * x) * np.cos(2 * y)
            + np.exp(-20 * ((x - 1) ** 2 + y**2))
            - np.exp(-20 * ((x + 1) ** 2 + y**2))
        )
        figure.colorbar(ax.pcolormesh(x, y, field, cmap="viridis", vmin=-1, vmax=1))
        ax.set_title("An anomaly")
        original = widgets._png(figure)
        (reduced,) = widgets._small([original])
        before, after = (np.array(Image.open(io.BytesIO(p)).convert("RGB"), dtype=int) for p in (original, reduced))
        assert len(reduced) < len(original)
        assert (after[(before == 255).all(-1)] == 255).all()
        assert np.percentile(np.abs(before - after).max(-1), 99) < 10

    def test_frames_share_their_colours(self):
        """A ground that all frames have must not flicker, whatever else they show."""
        pictures = []
        for seed in range(3):
            noise = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
            noise[:20] = (201, 133, 57)
            buffer = io.BytesIO()
            Image.fromarray(noise).save(buffer, format="png")
            pictures.append(buffer.getvalue())
        grounds = {Image.open(io.BytesIO(p)).convert("RGB").getpixel((5, 5)) for p in widgets._small(pictures)}
        assert len(grounds) == 1

    def test_repr(self):
        assert repr(frame_slider([RED, BLUE], ["0 h", "6 h"], alt="x")) == "FrameSlider(2 frames, '0 h' to '6 h')"

    @pytest.mark.parametrize(
        ("frames", "labels", "options", "message"),
        [
            ([], [], {"alt": "x"}, "at least one frame"),
            ([RED], "ab", {"alt": "x"}, "1 frames and 2 labels"),
            ([RED], "a", {"alt": " "}, "alt"),
            ([RED, BLUE], "ab", {"alt": ["x"]}, "2 texts"),
            ([b"GIF89a"], "a", {"alt": "x"}, "A frame is a matplotlib figure"),
            ([3], "a", {"alt": "x"}, "not int"),
            ([RED], "a", {"alt": "x", "interval_ms": 0}, "interval_ms must be a positive"),
        ],
    )
    def test_bad_input_gets_a_sentence(self, frames, labels, options, message):
        with pytest.raises(ValueError, match=message):
            frame_slider(frames, labels, **options)


class TestExplore:
    def test_a_page_gets_every_combination(self, page):
        slider = explore(draw, alt="A line", level=[1, 2], lead={"six hours": 6, "a day": 24})
        assert slider.labels == (
            "level 1, lead six hours",
            "level 1, lead a day",
            "level 2, lead six hours",
            "level 2, lead a day",
        )
        assert len(set(slider.frames)) == 4

    def test_a_page_has_room_for_forty_frames(self, page):
        calls = []
        with pytest.raises(ValueError, match="at most 40 frames, and these choices make 42"):
            explore(lambda **choice: calls.append(choice), alt="A line", level=range(6), lead=range(7))
        assert calls == []

    def test_without_ipywidgets_a_notebook_gets_the_frames(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
        assert isinstance(explore(draw, alt="A line", level=[1, 2]), widgets.FrameSlider)

    def test_a_notebook_gets_controls_that_redraw(self):
        ipywidgets = pytest.importorskip("ipywidgets")
        box = explore(draw, alt="A line", level=[1, 2], lead={"a day": 24, "a week": 168})
        level, lead, picture, _ = box.children
        assert isinstance(level, ipywidgets.SelectionSlider)
        assert [level.description, lead.description] == ["level", "lead"]
        before = picture.value
        level.value = 2
        assert picture.value != before
        assert 'alt="A line (level 2, lead a day)"' in picture.value
        source = re.search(r"base64,([^\"]+)", picture.value)[1]
        assert base64.b64decode(source).startswith(widgets.PNG_SIGNATURE)

    def test_names_are_listed_not_slid(self):
        ipywidgets = pytest.importorskip("ipywidgets")
        box = explore(lambda region: draw(1), alt="A line", region=["Europe", "Asia"])
        assert isinstance(box.children[0], ipywidgets.Dropdown)

    @pytest.mark.parametrize("values", ["Europe", 3, [], {}])
    def test_choices_are_a_list(self, values):
        with pytest.raises(ValueError, match="level must be a list of values"):
            explore(draw, alt="A line", level=values)

    def test_nothing_to_choose(self):
        with pytest.raises(ValueError, match="needs something to choose"):
            explore(draw, alt="A line")

    def test_a_function_must_return_its_figure(self, page):
        with pytest.raises(ValueError, match="it returned None: end it with `return figure`"):
            explore(lambda level: None, alt="A line", level=[1])
