"""Pictures side by side: a grid of them by class, and generated ones beside the training images that are nearest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from understudy.schema import Array
from understudy.validation import figures

PIXEL = 0.016
"""Inches per pixel of a picture."""
GAP = 2
"""Pixels between pictures."""


def mosaic(images: Array, gap: int = GAP) -> Array:
    """Images `(lines, columns, channels, rows, columns)` as one, white between them.

    The answer is grey, `(height, width)`, or of 3 channels `(height, width, 3)`. Of other numbers of channels than 3 it
    shows the mean.
    """
    lines, across, channels, rows, columns = images.shape
    shown = images if channels == 3 else images.mean(2, keepdims=True)
    depth = shown.shape[2]
    canvas = np.ones((lines * (rows + gap) - gap, across * (columns + gap) - gap, depth), np.float32)
    for i, j in np.ndindex(lines, across):
        y, x = i * (rows + gap), j * (columns + gap)
        canvas[y : y + rows, x : x + columns] = shown[i, j].transpose(1, 2, 0)
    return canvas if depth == 3 else canvas[..., 0]


def by_class(images: Array, labels: Array, classes: Sequence[int], each: int) -> Array:
    """The first `each` images of every class, `(classes, each, channels, rows, columns)`; white where there are fewer."""
    found = np.ones((len(classes), each, *images.shape[1:]), np.float32)
    for i, k in enumerate(classes):
        rows = np.flatnonzero(labels == k)[:each]
        found[i, : len(rows)] = images[rows]
    return found


def grids_figure(blocks: Sequence[tuple[str, Array, str]], lines: Sequence[str]) -> Figure:
    """Blocks of pictures beside each other, with common lines.

    Args:
        blocks: heading, images `(lines, columns, channels, rows, columns)`, colour of the heading.
        lines: what stands before each line.
    """
    drawn = [mosaic(np.clip(images, 0, 1)) for _, images, _ in blocks]
    scale = PIXEL * max(1.0, 28 / blocks[0][1].shape[3])
    widths, height = [scale * d.shape[1] for d in drawn], scale * drawn[0].shape[0]
    left, top, apart = 0.75, 0.34, 0.22
    size = (left + sum(widths) + apart * (len(blocks) - 1) + 0.08, top + height + 0.08)
    with figures.styled():
        figure = Figure(size)
        x = left
        for number, ((title, _, colour), picture, width) in enumerate(zip(blocks, drawn, widths, strict=True)):
            axes = figure.add_axes((x / size[0], 0.08 / size[1], width / size[0], height / size[1]))
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
            axes.set_xticks([])
            step = picture.shape[0] / len(lines)
            axes.set_yticks([(i + 0.5) * step - 0.5 for i in range(len(lines))], lines if number == 0 else [""] * len(lines))
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            length = max(6, int(15 * width))
            axes.set_title(figures.shortened(title, length), color=colour, fontsize=9, pad=4)
            x += width + apart
    return figure
