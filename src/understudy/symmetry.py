r"""Exact symmetries of a calorimeter: what maps its cells onto its cells.

A `Symmetry` acts on the plane of the cells as $u \to M (u - c) + c$ with an orthogonal matrix $M$ of signs and exchanges.
Where the material, the cells and the particle gun are all symmetric, the response of the image of a particle is distributed
as the image of the response: $p(g\,x \mid g\,c) = p(x \mid c)$. Positions go to $M (r - r_0) + r_0$, the transverse momentum
to $M p_T$; energies stay.

A geometry declares only what is exact. The homogeneous stack with square cells has the symmetries of the square (8
elements). The ATLAS-like clusters have none: the back cells (0.05 in eta) and the strips (four middle cells in phi) are
aligned to the edges of the central middle cell, not to its centre, so that a mirror about that centre maps them onto no
cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from understudy.schema import Array, Block, Schema

if TYPE_CHECKING:
    from understudy.events import Events
    from understudy.geometry import Calorimeter

Matrix = tuple[tuple[int, int], tuple[int, int]]

TOLERANCE = 1e-6
"""How far an edge may lie from its image's place, relative to the cell."""
MOST = 8
"""Images of an event, itself included, unless a recipe asks for more."""
_VECTORS = ("position", "momentum")
_INVARIANT = ("layer_energies",)
"""Conditions that stay although they are more than one number: cells are mapped onto cells of their own layer."""


@dataclass(frozen=True)
class Symmetry:
    """A map of the plane onto itself.

    Args:
        name: `mirror-x`, ...
        matrix: signs and exchanges, one number of each row and column is 1 or -1.
        centre: the fixed point in the units of the cells.
        origin: the fixed point in the units of the condition `position`.
    """

    name: str
    matrix: Matrix
    centre: tuple[float, float] = (0.0, 0.0)
    origin: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        rows = tuple(tuple(int(v) for v in row) for row in self.matrix)
        object.__setattr__(self, "matrix", rows)
        object.__setattr__(self, "centre", tuple(float(v) for v in self.centre))
        object.__setattr__(self, "origin", tuple(float(v) for v in self.origin))
        if sorted(np.abs(rows).sum(0)) != [1, 1] or sorted(np.abs(rows).sum(1)) != [1, 1]:
            raise ValueError(f"symmetry {self.name!r} must change signs or exchange axes, its matrix is {rows}")

    @property
    def inverse(self) -> Symmetry:
        """The map back; the transposed matrix."""
        (a, b), (c, d) = self.matrix
        name = self.name if (b, c) == (c, b) else f"{self.name}, back"
        return Symmetry(name, ((a, c), (b, d)), self.centre, self.origin)

    def after(self, first: Symmetry) -> Symmetry:
        """`first`, then this; ValueError if they have different fixed points."""
        if (self.centre, self.origin) != (first.centre, first.origin):
            raise ValueError(f"the symmetries {first.name!r} and {self.name!r} have different fixed points")
        product = np.array(self.matrix) @ np.array(first.matrix)
        return Symmetry(f"{first.name}, {self.name}", _matrix(product), self.centre, self.origin)

    def points(self, points: Array) -> Array:
        """Images of points `(n, 2)` in the units of the cells."""
        return np.asarray((points - self.centre) @ np.array(self.matrix).T + self.centre)

    def conditions(self, conditions: Mapping[str, Any], blocks: Sequence[Block]) -> dict[str, Any]:
        """The conditions of the image of each event, by block name; float32 as in events.

        Raises:
            ValueError: it is not known how a condition changes.
        """
        matrix = np.array(self.matrix, float)
        found = dict(conditions)
        for block in blocks:
            if block.name not in conditions:
                continue
            if block.name not in _VECTORS:
                scalar = block.width == 1 and block.unit == "MeV"
                if not (scalar or block.kind == "categorical" or block.name in _INVARIANT):
                    raise ValueError(
                        f"it is not known how the symmetry {self.name!r} changes the condition {block.name!r}: energies stay,"
                        " position and momentum turn; leave the others out"
                    )
                continue
            moved = np.array(conditions[block.name], np.float64)
            origin = np.array(self.origin if block.name == "position" else (0.0, 0.0))
            moved[:, :2] = (moved[:, :2] - origin) @ matrix.T + origin
            found[block.name] = moved.astype(np.float32)
        return found

    def permutation(self, geometry: Calorimeter) -> Array:
        """Where each cell of the image comes from, `(n_cells,)`: the image of `cells` is `cells[:, permutation]`.

        Cells are found by position.

        Raises:
            ValueError: a cell has no image, so that this is no symmetry of the geometry.
        """
        source = np.empty(geometry.n_cells, np.int64)
        for layer, part in zip(geometry.layers, geometry.slices.values(), strict=True):
            low, high = _corners(layer.edges)
            size = high - low
            a, b = self.points(low), self.points(high)
            image_low, image_high = np.minimum(a, b), np.maximum(a, b)
            centre = 0.5 * (image_low + image_high)
            target = layer.find(centre[:, 0], centre[:, 1])
            near = (target >= 0) & (np.abs(low[target] - image_low) <= TOLERANCE * size).all(1)
            near &= (np.abs(high[target] - image_high) <= TOLERANCE * size).all(1)
            if layer.shape_of_grid != "cartesian" or not near.all():
                raise ValueError(
                    f"{self.name!r} is no symmetry of {geometry.name!r}: {int((~near).sum())} of {layer.n_cells} cells of layer"
                    f" {layer.name!r} have no image"
                )
            source[part.start + target] = part.start + np.arange(layer.n_cells)
        return source

    def apply(self, events: Events, geometry: Calorimeter) -> Events:
        """The image of whole events, conditions and cells together; auxiliary truth is left out."""
        blocks = events.schema.conditions
        return _changed(events, self.conditions(events.conditions, blocks), events.packed()[:, self.permutation(geometry)])


class Augment(BaseModel):
    """What a stage's training split is enlarged by.

    Args:
        symmetries: names of the geometry's symmetries, or `all`; what they generate together is used.
        copies: images added to each event, different elements of the group at random; if None, all of them (at most 7).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    symmetries: list[str] | Literal["all"] = "all"
    copies: int | None = Field(None, ge=1)

    def elements(self, geometry: Calorimeter | None) -> tuple[Symmetry, ...]:
        """The group that the recipe asks for, the identity first; ValueError if the geometry does not declare it."""
        found, names = declared_group(geometry, self.symmetries, "augment")
        if self.copies is not None and self.copies >= len(found):
            raise ValueError(
                f"augment asks for {self.copies} images of each event, but {', '.join(names)} give {len(found) - 1}"
                " besides itself"
            )
        return found

    def check(self, geometry: Calorimeter | None, schema: Schema) -> None:
        """ValueError unless events of `schema` have these images."""
        check_images(self.elements(geometry), geometry, schema)


class Canonicalise(BaseModel):
    """Symmetries that a stage need not learn: each event is brought to a canonical region first (see `canonical.py`).

    Args:
        symmetries: names of the geometry's symmetries, or `all`; what they generate together is used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    symmetries: list[str] | Literal["all"] = "all"

    def elements(self, geometry: Calorimeter | None) -> tuple[Symmetry, ...]:
        """The group that the recipe asks for, the identity first; ValueError if the geometry does not declare it."""
        return declared_group(geometry, self.symmetries, "canonicalise")[0]


def declared_group(
    geometry: Calorimeter | None, symmetries: Sequence[str] | Literal["all"], key: str
) -> tuple[tuple[Symmetry, ...], Sequence[str]]:
    """What the named symmetries of a geometry generate, the identity first, and their names.

    Raises:
        ValueError: the geometry does not declare them; names the recipe's `key`.
    """
    if geometry is None or not geometry.symmetries:
        what = "no geometry" if geometry is None else f"the geometry {geometry.name!r}, which declares no symmetries"
        raise ValueError(f"{key!r} needs symmetries: the recipe has {what}; leave out {key!r}")
    known = {s.name: s for s in geometry.symmetries}
    names = list(known) if symmetries == "all" else symmetries
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{geometry.name!r} has no symmetry {unknown[0]!r}; it has {', '.join(known)}")
    return group([known[name] for name in names]), names


def check_images(elements: Sequence[Symmetry], geometry: Calorimeter | None, schema: Schema) -> None:
    """ValueError unless events of `schema` have these images."""
    for element in elements:
        element.permutation(geometry)  # type: ignore[arg-type]
        element.conditions({b.name: np.zeros((1, *b.shape)) for b in schema.conditions}, schema.conditions)
    geometry.check_cells(schema.response_width)  # type: ignore[union-attr]


def group(generators: Sequence[Symmetry]) -> tuple[Symmetry, ...]:
    """Everything that the symmetries generate, the identity first."""
    if not generators:
        raise ValueError("no symmetry is named; name one or more, or leave the key out")
    first = generators[0]
    found = {((1, 0), (0, 1)): Symmetry("identity", ((1, 0), (0, 1)), first.centre, first.origin)}
    found |= {g.matrix: g for g in generators}
    size = 0
    while len(found) > size:
        size = len(found)
        for second, known in itertools.product(generators, tuple(found.values())):
            product = second.after(known)
            found.setdefault(product.matrix, product)
    return tuple(found.values())


def augmented(events: Events, augment: Augment | None, geometry: Calorimeter | None, generator: np.random.Generator) -> Events:
    """`events` followed by images of them: `1 + copies` times as many.

    Args:
        events: the training split; weights and masks go with their events, auxiliary truth is left out.
        augment: which images; None for the events alone.
        geometry: where the cells sit.
        generator: draws which images each event gets, where there are more than are asked for.
    """
    if augment is None:
        return events
    elements = augment.elements(geometry)
    copies = augment.copies or min(len(elements), MOST) - 1
    n, others = len(events), len(elements) - 1
    chosen = np.tile(np.arange(others), (n, 1))
    if copies < others:
        chosen = generator.permuted(chosen, axis=1)
    cells = events.packed()
    sources = [e.permutation(geometry) for e in elements]  # type: ignore[arg-type]
    images = np.empty(((1 + copies) * n, cells.shape[1]), np.float32)
    images[:n] = cells
    moved = [e.conditions(events.conditions, events.schema.conditions) for e in elements]
    conditions = {k: [v] for k, v in moved[0].items()}
    for copy in range(copies):
        mine = {k: np.array(v[0]) for k, v in conditions.items()}
        for element in range(others):
            rows = np.flatnonzero(chosen[:, copy] == element)
            images[(1 + copy) * n + rows] = cells[rows][:, sources[1 + element]]
            for name in mine:
                mine[name][rows] = moved[1 + element][name][rows]
        for name in mine:
            conditions[name].append(mine[name])
    return _changed(events, {k: np.concatenate(v) for k, v in conditions.items()}, images, 1 + copies)


def _changed(events: Events, conditions: Mapping[str, Any], cells: Array, times: int = 1) -> Events:
    """Events with these conditions and cells; weights and masks repeated."""
    return replace(
        events,
        schema=replace(events.schema, aux=()),
        conditions=conditions,
        response=events.schema.unpack(cells),
        weights=None if events.weights is None else np.tile(events.weights, times),
        mask=None if events.mask is None else np.tile(events.mask, times),
        aux={},
    )


def _matrix(values: Array) -> Matrix:
    return (int(values[0, 0]), int(values[0, 1])), (int(values[1, 0]), int(values[1, 1]))


def _corners(edges: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple[Array, Array]:
    """Lower and upper corners of the cells of a layer, `(n_cells, 2)` each, row-major."""
    x, y = (np.asarray(e) for e in edges)
    low = np.stack(np.meshgrid(x[:-1], y[:-1], indexing="ij"), -1).reshape(-1, 2)
    high = np.stack(np.meshgrid(x[1:], y[1:], indexing="ij"), -1).reshape(-1, 2)
    return low, high


SQUARE = (
    Symmetry("mirror-x", ((-1, 0), (0, 1))),
    Symmetry("mirror-y", ((1, 0), (0, -1))),
    Symmetry("exchange-xy", ((0, 1), (1, 0))),
)
"""Generators of the symmetries of a square about the origin."""
