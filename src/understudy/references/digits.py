r"""Digits as a seven-segment display shows them, each drawn a little differently: pictures with a class that need no file.

The ends of the seven strokes are moved by an affine map of their own for each picture (size, slant, rotation, place) and
shaken, and a pixel at distance $d$ from the nearest stroke of half width $w$ has the brightness $\min(1, \max(0, 1 + (w -
d)))$ in units of pixels, rounded to one of 256 levels. With it a stand-in for pictures can be tried, and asked for ever new
ones at the same class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from understudy.events import Events
from understudy.registry import register
from understudy.schema import Array, Block, Schema
from understudy.simulator import Conditions, GunSource

LABEL = Block("label", kind="categorical")
STROKES = np.array(
    [
        [[-1, -2], [1, -2]],  # top
        [[-1, -2], [-1, 0]],
        [[1, -2], [1, 0]],
        [[-1, 0], [1, 0]],  # middle
        [[-1, 0], [-1, 2]],
        [[1, 0], [1, 2]],
        [[-1, 2], [1, 2]],  # bottom
    ],
    float,
)
"""Ends (x, y) of the seven strokes, y downwards."""
LIT = ("1110111", "0010010", "1011101", "1011011", "0111010", "1101011", "1101111", "1010010", "1111111", "1111011")
"""Which strokes are lit in each digit."""
BLOCK = 500


class LabelGun(BaseModel):
    """Classes drawn at random, all equally often.

    Args:
        classes: how many, numbered from 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: Annotated[int, Field(ge=1, le=10)] = 10

    def draw(self, n: int, generator: np.random.Generator) -> dict[str, Any]:
        """`n` classes by block name."""
        return {LABEL.name: generator.integers(0, self.classes, n)}


@dataclass(frozen=True)
class DigitSimulator:
    """A Simulator: `label` to `image`, `(size, size)` or `(3, size, size)`, pixels from 0 to 1.

    Args:
        size: rows and columns.
        spread: how different pictures of one class are; at 0 they are all the same.
        coloured: three channels, red, green and blue, with a colour for the digit and one for what is behind it; else one,
            white on black.
    """

    size: int = 28
    spread: float = 1.0
    coloured: bool = False

    @property
    def schema(self) -> Schema:
        """The class, and the pixels."""
        return Schema((LABEL,), (Block("image", kind="image", shape=self.shape, minimum=0.0),))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a picture."""
        return (3, self.size, self.size) if self.coloured else (self.size, self.size)

    def simulate(self, conditions: Conditions, generator: np.random.Generator) -> Events:
        """One picture per row of `conditions`; ValueError where a class is outside 0 to 9."""
        asked = Events(self.schema, {LABEL.name: conditions[LABEL.name]}, where="the conditions of parametric digits")
        label = np.asarray(asked[LABEL.name])
        if (bad := np.flatnonzero(label > 9)).size:
            raise ValueError(f"event {bad[0]} asks for the digit {label[bad[0]]}; digits go from 0 to 9")
        images = np.empty((len(label), *self.shape), np.float32)
        for start in range(0, len(label), BLOCK):
            rows = slice(start, start + BLOCK)
            images[rows] = self._drawn(label[rows], generator)
        return asked.with_response({"image": images})

    def _drawn(self, label: Array, generator: np.random.Generator) -> Array:
        n, s, unit = len(label), self.spread, self.size / 28
        scale = 4.2 * unit * (1 + 0.12 * s * generator.uniform(-1, 1, (n, 2)))
        slant, turn = 0.25 * s * generator.uniform(-1, 1, n), 0.15 * s * generator.normal(size=n)
        cos, sin = np.cos(turn), np.sin(turn)
        affine = np.array([[cos, slant - sin], [sin, cos]]).transpose(2, 0, 1) * scale[:, None, :]
        place = (self.size - 1) / 2 + 1.5 * unit * s * generator.uniform(-1, 1, (n, 2))
        ends = np.einsum("nij,kej->nkei", affine, STROKES) + place[:, None, None]
        ends += 0.4 * unit * s * generator.normal(size=ends.shape)
        half = unit * (1.0 + 0.5 * s * generator.uniform(-1, 1, n))
        lit = np.array([[c == "1" for c in word] for word in LIT])[label]
        distance = np.where(lit[:, :, None], to_strokes(ends, self.size), np.inf).min(1)
        light = np.clip(1 + half[:, None] - distance, 0, 1).reshape(n, self.size, self.size)
        if self.coloured:
            ink, paper = (s * generator.uniform(-0.3, 0.3, (n, 3, 1, 1)) + 0.5 + side for side in (0.2, -0.2))
            light = paper + (ink - paper) * light[:, None]
        return np.asarray(np.rint(255 * light) / 255, np.float32)


def to_strokes(ends: Array, size: int) -> Array:
    """Distance of each pixel's centre, `(n, strokes, size * size)`, to strokes with ends `(n, strokes, 2, 2)` in (x, y)."""
    y, x = np.divmod(np.arange(size * size), size)
    p = np.stack([x, y], 1) - ends[:, :, 0, None]
    along = (ends[:, :, 1] - ends[:, :, 0])[:, :, None]
    length = np.maximum((along**2).sum(-1), 1e-12)
    t = np.clip((p * along).sum(-1) / length, 0, 1)
    return np.asarray(np.sqrt(((p - t[..., None] * along) ** 2).sum(-1)))


@dataclass(frozen=True)
class Digits(GunSource):
    """A Source of pictures of digits."""

    geometry: None = None


_GUN = LabelGun()


@register("references", "parametric-digits")
def parametric_digits(
    gun: LabelGun = _GUN,
    size: Annotated[int, Field(ge=8, le=128)] = 28,
    spread: Annotated[float, Field(ge=0, le=1)] = 1.0,
    coloured: bool = False,
) -> Digits:
    """Seven-segment digits; see `DigitSimulator`."""
    return Digits(gun, DigitSimulator(size, spread, coloured))
