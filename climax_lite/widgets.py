"""What a notebook shows beside plain figures: numbers for the text, strips of frames, controls.

A page of the book has no kernel, and a notebook has: with the environment variable CLIMAX_LITE_STATIC set (the build of
the book sets it) the same cell gives what works without one. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import itertools
import numbers
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Frame = Figure | bytes | str | os.PathLike[str]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
DPI = 96
MOST_FRAMES = 40  # on one page: each is some tens of kilobytes
KEY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def glue(name: str, value: object, fmt: str = "") -> None:
    """Give the page the text of a number, for `` {glue:text}`name` ``; in a notebook this does nothing.

    Args:
        name: a phrase in lower case with underscores; readers of the notebook see it in place of the number.
        value: a number or a text; an array or tensor may hold one number. A negative number gets a minus sign, not a hyphen.
        fmt: a format specification such as ".1f".
    """
    if not KEY.fullmatch(name):
        raise ValueError(
            f"A glue key is a phrase in lower case with underscores, such as 'z500_persistence_3d', not {name!r}."
        )
    try:
        number = value.item() if hasattr(value, "item") else value
        text = format(number, fmt)
        text = text.replace("-", "−") if isinstance(number, numbers.Number) else text
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name!r} must be one value that the format {fmt!r} fits, not {value!r}: {error}.") from error
    if not _makes_a_page():
        return
    try:
        from myst_nb import glue as myst_glue
    except ImportError:
        return
    # As a text, not as a number: the page reads the repr back, and of 3.10 it would keep 3.1.
    myst_glue(name, text, display=False)


@dataclass(frozen=True)
class FrameSlider:
    """Pictures under a slider, in HTML that needs no kernel, no library and no network."""

    frames: tuple[bytes, ...]
    labels: tuple[str, ...]
    alts: tuple[str, ...]
    caption: str | None = None
    autoplay: bool = False
    interval_ms: int = 500

    def __repr__(self) -> str:
        return f"FrameSlider({len(self.frames)} frames, {self.labels[0]!r} to {self.labels[-1]!r})"

    def _repr_html_(self) -> str:
        images = "\n".join(
            f'<img class="climax-frames-frame" data-label="{html.escape(label)}" alt="{html.escape(alt)}"'
            f' src="{_data_url(frame)}"{" hidden" if number else ""}>'
            for number, (frame, label, alt) in enumerate(zip(self.frames, self.labels, self.alts, strict=True))
        )
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        settings = f'data-interval="{self.interval_ms}" data-autoplay="{str(self.autoplay).lower()}"'
        # The same content has the same name, so that running a cell again changes no byte of the notebook.
        name = hashlib.sha256(f"{images}{caption}{settings}".encode()).hexdigest()[:12]
        return TEMPLATE.format(
            name=name,
            settings=settings,
            images=images,
            last=len(self.frames) - 1,
            label=html.escape(self.labels[0]),
            caption=caption,
            style=STYLE,
            script=SCRIPT.replace("NAME", name),
        )


def frame_slider(
    frames: Iterable[Frame],
    labels: Iterable[object],
    *,
    alt: str | Sequence[str],
    caption: str | None = None,
    autoplay: bool = False,
    interval_ms: int = 500,
) -> FrameSlider:
    """Put pictures under a slider with a play button.

    Args:
        frames: matplotlib figures (closed afterwards, lest they are shown twice), PNG bytes or paths of PNG files.
        labels: what is said beside the slider, one for each frame.
        alt: what somebody who cannot see the pictures needs to know: one text, to which the labels are added, or one
            for each frame.
        caption: shown below.
        autoplay: start at once, unless the reader's system asks for reduced motion.
        interval_ms: milliseconds that a frame stays when playing.
    """
    # Each figure is drawn and closed before the next is made: a generator of many frames stays small.
    pictures, label_texts = [_png(frame) for frame in frames], tuple(str(label) for label in labels)
    if not pictures:
        raise ValueError("A frame slider needs at least one frame, and got none.")
    if len(label_texts) != len(pictures):
        raise ValueError(
            f"Every frame needs one label: there are {len(pictures)} frames and {len(label_texts)} labels. Give as many."
        )
    alts = tuple(f"{alt} ({label})" for label in label_texts) if isinstance(alt, str) else tuple(alt)
    if len(alts) != len(pictures) or not all(isinstance(text, str) and text.strip() for text in alts):
        raise ValueError(
            f"alt must be one text or {len(pictures)} texts, one for each frame, not {alt!r}: say what the pictures show."
        )
    if isinstance(alt, str) and not alt.strip():
        raise ValueError("alt is empty: say what somebody who cannot see the pictures needs to know.")
    if interval_ms <= 0:
        raise ValueError(f"interval_ms must be a positive number of milliseconds, not {interval_ms!r}.")
    return FrameSlider(_small(pictures), label_texts, alts, caption, autoplay, int(interval_ms))


def explore(function: Callable[..., Figure], *, alt: str, **choices: Sequence | Mapping[str, object]) -> Any:
    """Controls for a drawing: live in a notebook, a frame slider over all choices on a page.

    Args:
        function: takes the choices by name and returns a matplotlib figure.
        alt: what somebody who cannot see the pictures needs to know.
        choices: for each argument of the function the values to choose from, or a mapping from labels to values.
    """
    if not choices:
        raise ValueError(
            "explore needs something to choose: name an argument and its values, as in lead_hours=[6, 24, 72]."
        )
    options = {name: _options(name, values) for name, values in choices.items()}
    if _makes_a_page():
        return _frames_of_choices(function, alt, options)
    try:
        import ipywidgets
    except ImportError:
        return _frames_of_choices(function, alt, options)

    controls = {name: _control(ipywidgets, name, pairs) for name, pairs in options.items()}
    # A picture whose source is swapped does not flicker, as an output that is cleared and drawn again does.
    picture = ipywidgets.HTML()
    errors = ipywidgets.Output()

    @errors.capture(clear_output=True)
    def draw(_change: object = None) -> None:
        picked = {name: options[name][control.index] for name, control in controls.items()}
        source = _data_url(_picture(function, picked))
        text = html.escape(f"{alt} ({_picked_words(picked)})")
        picture.value = f'<img class="climax-frames-frame" alt="{text}" src="{source}">'

    for control in controls.values():
        control.observe(draw, names="index")
    draw()
    return ipywidgets.VBox([*controls.values(), picture, errors])


def _frames_of_choices(
    function: Callable[..., Figure], alt: str, options: dict[str, list[tuple[str, object]]]
) -> FrameSlider:
    combinations = list(itertools.product(*options.values()))
    if len(combinations) > MOST_FRAMES:
        raise ValueError(
            f"A page holds at most {MOST_FRAMES} frames, and these choices make {len(combinations)}: give fewer values."
        )
    choices = [dict(zip(options, combination, strict=True)) for combination in combinations]
    return frame_slider((_picture(function, picked) for picked in choices), map(_picked_words, choices), alt=alt)


def _options(name: str, values: Any) -> list[tuple[str, object]]:
    if isinstance(values, Mapping):
        pairs = [(str(label), value) for label, value in values.items()]
    elif isinstance(values, str) or not isinstance(values, Iterable):
        pairs = []
    else:
        pairs = [(str(value), value) for value in values]
    if not pairs:
        raise ValueError(
            f"{name} must be a list of values to choose from, or a mapping from labels to values, not {values!r}."
        )
    return pairs


def _control(ipywidgets: Any, name: str, pairs: list[tuple[str, object]]) -> Any:
    # Numbers have an order to slide along; names have none.
    is_number = all(hasattr(value, "__float__") and not isinstance(value, bool) for _, value in pairs)
    kind = ipywidgets.SelectionSlider if is_number and len(pairs) > 1 else ipywidgets.Dropdown
    return kind(options=pairs, index=0, description=_words(name), style={"description_width": "initial"})


def _picture(function: Callable[..., Figure], picked: dict[str, tuple[str, object]]) -> bytes:
    figure = function(**{name: value for name, (_, value) in picked.items()})
    if not hasattr(figure, "savefig"):
        raise ValueError(
            f"The function must return the matplotlib figure that it draws, and it returned {figure!r}:"
            " end it with `return figure`."
        )
    return _png(figure)


def _picked_words(picked: dict[str, tuple[str, object]]) -> str:
    return ", ".join(f"{_words(name)} {label}" for name, (label, _) in picked.items())


def _words(name: str) -> str:
    return name.replace("_", " ")


def _makes_a_page() -> bool:
    return bool(os.environ.get("CLIMAX_LITE_STATIC"))


def _png(frame: Frame) -> bytes:
    if isinstance(frame, (str, os.PathLike)):
        frame = Path(frame).read_bytes()
    if not isinstance(frame, bytes) and hasattr(frame, "savefig"):
        import matplotlib.pyplot as plt

        buffer = io.BytesIO()
        # No tight box, whatever the style says: it would differ from frame to frame, and the picture would jump.
        with plt.rc_context({"savefig.bbox": None}):
            frame.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        plt.close(frame)
        frame = buffer.getvalue()
    if not isinstance(frame, bytes) or not frame.startswith(PNG_SIGNATURE):
        raise ValueError(
            f"A frame is a matplotlib figure, the bytes of a PNG or the path of a PNG file, not {type(frame).__name__}"
            " with other content: draw it with matplotlib or convert it."
        )
    return frame


def _small(pngs: list[bytes]) -> tuple[bytes, ...]:
    """The pictures with 256 colours that they share, where that is smaller: maps then take about a third.

    One palette for all, lest colours flicker from frame to frame; pictures with transparency stay as they are.
    """
    import numpy as np
    from PIL import Image

    images = [Image.open(io.BytesIO(png)).convert("RGBA") for png in pngs]
    if any(image.getchannel("A").getextrema() != (255, 255) for image in images):
        return tuple(pngs)
    thumbnails = [image.convert("RGB").reduce(2) for image in images]
    sheet = Image.new("RGB", (max(t.width for t in thumbnails), sum(t.height for t in thumbnails)))
    top = 0
    for thumbnail in thumbnails:
        sheet.paste(thumbnail, (0, top))
        top += thumbnail.height
    # Pillow's own choice, median cut, spends its colours where most pixels are: black turns violet, and the ends of a colour bar merge.
    # Greatest coverage does the first to thin letters, and makes bands. An octree keeps them all but the white ground, which is put back.
    palette = sheet.quantize(256, method=Image.Quantize.FASTOCTREE)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    counted: Any = sheet.getcolors(sheet.width * sheet.height)
    ground = max(counted)[1]
    colours[(np.abs(colours - ground) < 8).all(axis=1)] = ground
    palette.putpalette(colours.ravel().tolist())
    out = []
    for image, png in zip(images, pngs, strict=True):
        buffer = io.BytesIO()
        image.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE).save(
            buffer, format="png", optimize=True
        )
        out.append(min(buffer.getvalue(), png, key=len))
    return tuple(out)


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


TEMPLATE = """\
<figure class="climax-frames" data-climax-frames="{name}" {settings}>
<style>{style}</style>
<div class="climax-frames-stage">
{images}
</div>
<div class="climax-frames-controls" hidden>
<button type="button" class="climax-frames-play" aria-label="Play">▶</button>
<input type="range" class="climax-frames-range" min="0" max="{last}" value="0" step="1" aria-label="Frame" \
aria-valuetext="{label}">
<output class="climax-frames-label" aria-live="off">{label}</output>
</div>
{caption}
<script>{script}</script>
</figure>"""

# Colours are inherited, so that light and dark surroundings both work.
STYLE = """
.climax-frames { margin: 0 auto; max-width: 100%; color: inherit; }
.climax-frames [hidden] { display: none !important; }
.climax-frames-frame { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.climax-frames-controls { display: flex; gap: .75em; align-items: center; margin: .5em 0; }
.climax-frames-range { flex: 1; min-width: 6em; accent-color: currentColor; }
.climax-frames-play { min-width: 2.5em; min-height: 2.5em; font: inherit; color: inherit; background: none; \
border: 1px solid currentColor; border-radius: .25em; cursor: pointer; }
.climax-frames-label { min-width: 5em; font-variant-numeric: tabular-nums; }
"""

# Without JavaScript the first frame is seen and no dead controls are. Two equal strips on a page share a name and are
# told apart by being ready or not.
SCRIPT = """
document.querySelectorAll('[data-climax-frames="NAME"]:not([data-ready])').forEach(function (root) {
  root.dataset.ready = "";
  var frames = root.querySelectorAll(".climax-frames-frame");
  var range = root.querySelector(".climax-frames-range");
  var button = root.querySelector(".climax-frames-play");
  var label = root.querySelector(".climax-frames-label");
  var timer = null;
  function show() {
    frames.forEach(function (frame, i) { frame.hidden = i !== Number(range.value); });
    label.textContent = frames[range.value].dataset.label;
    range.setAttribute("aria-valuetext", label.textContent);
  }
  function pause() {
    clearInterval(timer);
    timer = null;
    button.textContent = "\\u25B6";
    button.setAttribute("aria-label", "Play");
  }
  function play() {
    button.textContent = "\\u23F8\\uFE0E";
    button.setAttribute("aria-label", "Pause");
    timer = setInterval(function () {
      if (!root.isConnected) { return pause(); }
      range.value = (Number(range.value) + 1) % frames.length;
      show();
    }, Number(root.dataset.interval));
  }
  button.addEventListener("click", function () { if (timer) { pause(); } else { play(); } });
  range.addEventListener("input", function () { pause(); show(); });
  root.querySelector(".climax-frames-controls").hidden = frames.length < 2;
  show();
  var still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (root.dataset.autoplay === "true" && !still && frames.length > 1) { play(); }
});
"""
