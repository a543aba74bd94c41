"""What all figures of a report share: colours, style, and their way into a page.

Figures are made with matplotlib's object-oriented interface, without pyplot and its global state. The reference is grey,
each candidate keeps one colour of Okabe and Ito's palette (distinguishable with every kind of colour blindness) in all
figures of a report. Charts are embedded as SVG, images of cells as PNG.
"""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from understudy.schema import Array

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "P")
REFERENCE_LINE = "#3c3c3c"
REFERENCE_FILL = "#d4d4d4"
BAND = "#bdbdbd"

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "axes.linewidth": 0.8,
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "understudy",
    "figure.facecolor": "white",
}


@dataclass(frozen=True)
class Picture:
    """A figure as bytes, ready for a page.

    Args:
        data: the encoded file.
        mime: `image/svg+xml` or `image/png`.
        width: width in CSS pixels (96 per inch).
        height: height in CSS pixels.
        alt: what it shows, for those who do not see it.
    """

    data: bytes
    mime: str
    width: int
    height: int
    alt: str

    @property
    def uri(self) -> str:
        """The picture as a `data:` address."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"


@contextmanager
def styled() -> Iterator[None]:
    """The report's style, for the time of a block."""
    with mpl.rc_context(STYLE):
        yield


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each candidate, by its place in the list; more than six begin anew with other markers."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def markers(names: Iterable[str]) -> dict[str, str]:
    """A marker for each candidate; of seven and more, those that share a colour have different ones."""
    return {name: MARKERS[(i + i // len(PALETTE)) % len(MARKERS)] for i, name in enumerate(names)}


def plain(text: str) -> str:
    """Text that matplotlib draws as it stands: a dollar begins no formula."""
    return text.replace("$", r"\$")


def shortened(text: str, length: int = 26) -> str:
    """A name cut for a legend; the page says it in full."""
    return plain(text if len(text) <= length else text[: length - 1] + "…")


def svg(figure: Figure, alt: str) -> Picture:
    """A chart as SVG, half as long as matplotlib writes it: four digits, short names, and styles that repeat written once."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :].replace("xlink:href", "href")
    text = re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.4g}", text)
    text = re.sub(r'<!--.*?-->| id="(?:line2d|xtick|ytick|text|patch|PolyCollection|axes|figure)_\d+"', "", text)
    text = re.sub(r"\s*\n\s*", "\n", text).replace("\nL ", "L").replace("\nM ", "M").replace("\nQ ", "Q")
    text = re.sub(r"\n+", "\n", _without_bare_groups(text))
    text = _with_short_names(_with_classes(text))
    width, height = figure.get_size_inches()
    return Picture(text.encode("utf-8"), "image/svg+xml", round(96 * width), round(96 * height), alt)


def _without_bare_groups(text: str) -> str:
    """Leave out groups without attributes, which mean nothing."""
    kept: list[str] = []
    bare: list[bool] = []
    for part in re.split(r"(<g\b[^>]*>|</g>)", text):
        if part.endswith("/>"):
            kept.append(part)
        elif part.startswith("<g"):
            bare.append(part == "<g>")
            kept.append("" if bare[-1] else part)
        else:
            kept.append("" if part == "</g>" and bare.pop() else part)
    return "".join(kept)


def _with_classes(text: str) -> str:
    """Replace styles that occur more than three times by classes."""
    counts = Counter(re.findall(r' style="([^"]*)"', text))
    classes = {style: f"s{i}" for i, (style, n) in enumerate(counts.items()) if n > 3}
    text = re.sub(r' style="([^"]*)"', lambda m: f' class="{classes[m[1]]}"' if m[1] in classes else m[0], text)
    rules = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    return text.replace("</style>", f"{rules}</style>", 1)


def _with_short_names(text: str) -> str:
    """Replace the names of glyphs, markers and clip paths by short ones."""
    short = {name: f"i{i}" for i, name in enumerate(dict.fromkeys(re.findall(r' id="([^"]*)"', text)))}
    return re.sub(r'( id="|"#|url\(#)([^")]*)', lambda m: m[1] + short.get(m[2], m[2]), text)


def png(figure: Figure, alt: str, dpi: int = 160) -> Picture:
    """An image of cells as PNG without transparency, compressed as far as it goes."""
    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    with Image.open(buffer) as image:
        image.convert("RGB").save(small, format="png", optimize=True)
    width, height = figure.get_size_inches()
    return Picture(small.getvalue(), "image/png", round(96 * width), round(96 * height), alt)


def in_display_unit(unit: str, largest: float) -> tuple[float, str]:
    """Factor and unit in which an axis reads well: energies above 10 000 MeV in GeV."""
    return (1e-3, "GeV") if unit == "MeV" and largest > 1e4 else (1.0, unit)


def with_unit(label: str, unit: str) -> str:
    """An axis label with its unit."""
    return f"{label} [{unit}]" if unit else label


def minor_ticks(axes: Axes) -> None:
    """Minor ticks on linear axes."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "linear":
            axis.set_minor_locator(mpl.ticker.AutoMinorLocator())


def bars(axes: Axes, x: Array, low: Array, high: Array, **style: Any) -> None:
    """Vertical error bars as one line, which keeps an SVG small; bars that are not defined are left out."""
    drawn = np.isfinite(low) & np.isfinite(high)
    x, low, high = x[drawn], low[drawn], high[drawn]
    gaps = np.full(len(x), np.nan)
    axes.plot(np.stack([x, x, gaps], 1).ravel(), np.stack([low, high, gaps], 1).ravel(), **style)
