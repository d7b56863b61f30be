"""A matplotlib figure laid out in inches from its top left corner, and its way into files and into the page."""

import io
import re
import unicodedata
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kvorum.files import atomic
from kvorum.report.figures.palette import LIGHT

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "kvorum",
    "path.simplify": False,
}
PNG_DOTS_PER_INCH = 170


class Sheet:
    """A figure whose axes and texts are placed in inches from the top left corner."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor=LIGHT["paper"])
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """New axes with their frame and ticks in the report's colours."""
        axes = self.figure.add_axes(
            (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height),
            facecolor=LIGHT["panel"],
        )
        for side, spine in axes.spines.items():
            spine.set_color(LIGHT["frame"])
            spine.set_visible(side in ("left", "bottom"))
        axes.tick_params(colors=LIGHT["muted"], labelsize=8, length=3, color=LIGHT["frame"])
        axes.grid(color=LIGHT["grid"], linewidth=0.7)
        axes.set_axisbelow(True)
        return axes

    def text(self, left: float, top: float, words: str, colour: str = "ink", **how: Any) -> None:
        """Words at a place; nothing in them is read as mathematics."""
        how = {"ha": "left", "va": "center", "fontsize": 8.5, **how}
        self.figure.text(
            left / self.width,
            1 - top / self.height,
            printable(words),
            color=LIGHT[colour],
            parse_math=False,
            **how,
        )

    def svg(self) -> bytes:
        """The figure as SVG with real text; the same figure gives the same bytes."""
        return self._drawn("svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})

    def png(self) -> bytes:
        """The figure as PNG on white."""
        return self._drawn("png", dpi=PNG_DOTS_PER_INCH, metadata={"Software": None})

    def _drawn(self, kind: str, **how: Any) -> bytes:
        target = io.BytesIO()
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            # A script that the figures' font lacks shows as boxes in the PNG; the SVG and the page have the text.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            self.figure.savefig(target, format=kind, **how)
        return target.getvalue()


def save(folder: Path, stem: str, sheet: Sheet) -> str:
    """Write a figure as `STEM.svg` and `STEM.png`; returns it as markup for the page."""
    svg = sheet.svg()
    for name, content in ((f"{stem}.svg", svg), (f"{stem}.png", sheet.png())):
        with atomic(folder / name) as path:
            path.write_bytes(content)
    return inline(svg, prefix=stem)


def printable(words: str, limit: int = 60) -> str:
    """Words fit for one line of a figure: no control characters (XML has no place for them), and not too many."""
    words = "".join(" " if unicodedata.category(letter).startswith("C") else letter for letter in words)
    words = " ".join(words.split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def percent(share: float) -> str:
    """A share in whole percent; what is neither nothing nor all does not look so."""
    words = f"{share:.0%}"
    if share > 0 and words == "0%":
        return "<1%"
    return ">99%" if share < 1 and words == "100%" else words


def inline(svg: bytes, prefix: str) -> str:
    """SVG markup to stand in an HTML page.

    Colours become CSS variables (so that the page's light and dark themes reach them), identifiers get a prefix (so
    that two figures on one page do not share any), fonts become the page's, and matplotlib's style sheet, which would
    reach every element of the page, goes.
    """
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}style", f"{{{SVG}}}metadata"):
                parent.remove(child)
    wanted = {
        match for node in root.iter() for value in node.attrib.values() for match in re.findall(r"#([\w.-]+)", value)
    }
    for node in root.iter():
        _themed(node, prefix, wanted)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return ElementTree.tostring(root, encoding="unicode")


def _themed(node: ElementTree.Element, prefix: str, wanted: set[str]) -> None:
    for key, value in list(node.attrib.items()):
        if key == "id":
            if value in wanted:
                node.set(key, f"{prefix}-{value}")
            else:
                del node.attrib[key]
        elif key == f"{{{XLINK}}}href":
            node.set(key, value.replace("#", f"#{prefix}-", 1))
        elif key == "clip-path":
            node.set(key, value.replace("url(#", f"url(#{prefix}-"))
        elif key == "style":
            # A hatched area is filled with a pattern, by its identifier.
            node.set(key, _themed_style(value).replace("url(#", f"url(#{prefix}-"))
        elif key == "d":
            node.set(key, re.sub(r"-?\d+\.\d+", _rounded, " ".join(value.split())))


def _rounded(number: re.Match[str]) -> str:
    """A coordinate to a hundredth of a point, finer than any screen shows."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _themed_style(style: str) -> str:
    style = re.sub(r"font-family:[^;]*;?", "", style)
    for name, colour in LIGHT.items():
        style = style.replace(colour, f"var(--fig-{name})")
    return style.strip()
