r"""Observables of pictures: brightness, contrast, sharpness, and where and how wide the light is.

With pixels $x_{rc}$ (the mean of all colours where a picture has several): `brightness` $\langle x \rangle$, `contrast` the
standard deviation over the pixels, `sharpness` the mean absolute difference of neighbours, `dark` the fraction of pixels that
are 0, the barycentre and the width of the light along rows and columns, and of coloured pictures the brightness of each
colour.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from understudy.events import Events
from understudy.schema import Array, Block
from understudy.validation import calorimeter as shower
from understudy.validation.observable import Observable

COLOURS = {3: ("red", "green", "blue")}


def pictured(block: Block) -> list[Observable]:
    """The observables of an image of rows and columns, or of channels of them; none of an image of another shape."""
    if len(block.shape) not in (2, 3):
        return []
    channels = block.shape[0] if len(block.shape) == 3 else 1

    def on(kernel: Callable[[Array], Array]) -> Callable[..., Array]:
        return lambda events, geometry: kernel(pixels(events.response[block.name]))

    found = [
        Observable("brightness", block.unit, "mean pixel", on(lambda x: x.mean((1, 2, 3)))),
        Observable("contrast", block.unit, "standard deviation of the pixels", on(lambda x: x.mean(1).std((1, 2)))),
        Observable("sharpness", block.unit, "mean difference of neighbours", on(sharpness)),
        Observable("dark", "", "fraction of pixels at 0", on(lambda x: (x == 0).mean((1, 2, 3)))),
    ]
    for axis, name in ((1, "rows"), (2, "columns")):
        found += [
            Observable(f"mean_{name}", "", f"barycentre of {name}", on(lambda x, a=axis: _along(x, a, shower.barycentre))),  # type: ignore[misc]
            Observable(f"width_{name}", "", f"width in {name}", on(lambda x, a=axis: _along(x, a, shower.width))),  # type: ignore[misc]
        ]
    for channel in range(channels if channels > 1 else 0):
        name = COLOURS[channels][channel] if channels in COLOURS else f"channel_{channel}"
        mean = on(lambda x, c=channel: x[:, c].mean((1, 2)))  # type: ignore[misc]
        found.append(Observable(name, block.unit, f"mean {name.replace('_', ' ')}", mean))
    return found


def pixels(image: Array) -> Array:
    """`(n, rows, columns)` or `(n, channels, rows, columns)` with channels."""
    return image if image.ndim == 4 else image[:, None]


def sharpness(x: Array) -> Array:
    """Mean absolute difference of neighbours along rows and columns, `(n,)`, of `(n, channels, rows, columns)`."""
    down, across = np.abs(np.diff(x, axis=2)), np.abs(np.diff(x, axis=3))
    return np.asarray((down.mean((1, 2, 3)) + across.mean((1, 2, 3))) / 2)


def _along(x: Array, axis: int, kernel: Callable[[Array, Array], Array]) -> Array:
    """A kernel of weights and positions, in pixels, on the light summed over all but one axis."""
    light = x.mean(1).sum(3 - axis)
    return kernel(light, np.arange(light.shape[1], dtype=float))


def of_image(events: Events) -> Block | None:
    """The response's image, where it is one of rows and columns; else None."""
    blocks = events.schema.response
    return blocks[0] if len(blocks) == 1 and blocks[0].kind == "image" and len(blocks[0].shape) in (2, 3) else None
