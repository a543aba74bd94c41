"""Showers of several samples below each other, all on one logarithmic colour scale.

Used for single showers at the same conditions, and for the mean, the standard deviation and examples of many showers at
one condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation import figures
from understudy.validation import figures_showers as of_showers

ALONE, TOGETHER = 1.7, 1.25
"""Width of a panel [inches], of a single layer and of several."""
MOST_LAYERS = 4
"""Layers of each sample; of more, those with the highest contents."""
DEPTH = 1e-4
"""Faintest energy on the colour scale over the highest."""
LINE = 0.145
"""Height of a line of a title [inches]."""


def gallery_figure(
    geometry: Calorimeter, titles: Sequence[Sequence[str]], samples: Mapping[str, Array], colours: Mapping[str, str]
) -> Figure:
    """A column for each title; the rows are the samples, with all layers of each.

    Args:
        geometry: where the cells sit.
        titles: what stands above each column, in lines.
        samples: cells `(columns, n_cells)` [MeV] by name, the reference first.
        colours: of the candidates' names.
    """
    names = list(samples)
    layers = of_showers.shown_layers(geometry, samples[names[0]].sum(0), MOST_LAYERS)
    panel = ALONE if len(layers) == 1 else TOGETHER
    rows = [panel * min(max(of_showers.height_over_width(layer), 0.22), 1.3) for layer in layers]
    left, right, bottom, gap_x, gap_y, apart = 1.0, 0.85, 0.46, 0.1, 0.1, 0.2
    top = 0.12 + LINE * max(len(lines) for lines in titles)
    block = sum(rows) + gap_y * (len(rows) - 1)
    width = left + len(titles) * (panel + gap_x) + right
    height = top + len(names) * block + (len(names) - 1) * apart + bottom
    highest = max(float(np.max(cells)) for cells in samples.values())
    norm = LogNorm(DEPTH * max(highest, 1e-3), max(highest, 1e-3))
    with figures.styled():
        figure = Figure((width, height))
        for s, name in enumerate(names):
            y = height - top - s * (block + apart)
            label = figures.shortened(name, max(14, int(14 * block)))
            shade = colours.get(name, "black")
            figure.text(0.14 / width, (y - block / 2) / height, label, rotation=90, ha="center", va="center", color=shade)
            for r, (layer, row) in enumerate(zip(layers, rows, strict=True)):
                y -= row
                last = s == len(names) - 1 and r == len(layers) - 1
                for c, cells in enumerate(samples[name]):
                    x = left + c * (panel + gap_x)
                    axes = figure.add_axes((x / width, y / height, panel / width, row / height))
                    image = np.asarray(cells)[geometry.slices[layer.name]].reshape(layer.shape)
                    of_showers.draw_layer(axes, layer, image, norm, of_showers.colour_map("viridis"))
                    of_showers.label_layer(axes, layer, first=c == 0, last=last)
                    if s == 0 and r == 0:
                        axes.set_title("\n".join(figures.plain(line) for line in titles[c]), fontsize=7.5, pad=4)
                y -= gap_y
        of_showers.colour_bar(figure, norm, "viridis", "energy per cell [MeV]", (width, height), right - 0.1, bottom, top)
    return figure
