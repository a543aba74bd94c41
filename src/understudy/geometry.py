"""Where each number of a calorimeter's response sits.

A `Calorimeter` is a list of `Layer`s, each a grid of cells with its own granularity along two axes (eta and phi, x and y,
or alpha and r). The cells of a response are the layers' cells one after the other, each layer row-major in its axes.

The ATLAS-like clusters are those of the photon-shower paper (3 x 7 middle cells with 89 cells in all, and 7 x 11 with
247); eta and phi are measured from the lower corner of the central middle cell, so the cell spans eta 0 to 0.025.
CaloChallenge geometries are read from their XML, voxels in the challenge's order (layer, then alpha, then r).
"""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from understudy.schema import Array
from understudy.symmetry import SQUARE, Symmetry

DPHI = 2 * math.pi / 256
"""Azimuthal size of a middle cell [rad]."""

BARREL_RADIUS = 1500.0
"""Radius [mm] at which the flat box of the ATLAS-like calorimeter stands: eta = x / radius, phi = y / radius."""


HCAL_CELL, HCAL_SHAPE = 131.3, (52, 64)
"""Side of the LHCb HCAL's smaller cells [mm], and its rows (y) and columns (x) in units of them."""


@dataclass(frozen=True)
class Layer:
    """A grid of cells.

    Args:
        name: `presampler`, `middle`, ...
        edges: cell edges along the two axes, increasing, in `units`.
        axes: names of the two axes.
        units: their units; pseudorapidity has none.
        shape_of_grid: `cartesian`, or `polar` where the axes are (alpha, r).
    """

    name: str
    edges: tuple[tuple[float, ...], tuple[float, ...]]
    axes: tuple[str, str] = ("eta", "phi")
    units: tuple[str, str] = ("", "rad")
    shape_of_grid: Literal["cartesian", "polar"] = "cartesian"

    def __post_init__(self) -> None:
        edges = tuple(tuple(float(e) for e in axis) for axis in self.edges)
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "axes", tuple(self.axes))
        object.__setattr__(self, "units", tuple(self.units))
        for axis, values in zip(self.axes, edges, strict=True):
            if len(values) < 2 or not all(b > a for a, b in itertools.pairwise(values)):
                raise ValueError(f"layer {self.name!r} needs at least two increasing edges along {axis}, not {list(values)}")

    @classmethod
    def grid(cls, name: str, cells: tuple[int, int], size: tuple[float, float], low: tuple[float, float], **names: Any) -> Layer:
        """A regular grid of `cells` cells of `size`, its lower corner at `low`."""
        edges = tuple(tuple(low[i] + size[i] * np.arange(cells[i] + 1)) for i in (0, 1))
        return cls(name, (edges[0], edges[1]), **names)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells along the two axes."""
        return len(self.edges[0]) - 1, len(self.edges[1]) - 1

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.shape[0] * self.shape[1]

    @cached_property
    def centres(self) -> Array:
        """Cell centres along the layer's axes, `(n_cells, 2)`, row-major."""
        first, second = (0.5 * (np.asarray(e[1:]) + np.asarray(e[:-1])) for e in self.edges)
        return np.stack(np.meshgrid(first, second, indexing="ij"), -1).reshape(-1, 2)

    @cached_property
    def cartesian(self) -> Array:
        """Cell centres in the plane of the layer, `(n_cells, 2)`: the centres themselves, or x and y of a polar grid."""
        if self.shape_of_grid == "cartesian":
            return self.centres
        alpha, r = self.centres.T
        if self.shape[0] == 1:  # a full ring has its centre of gravity on the axis
            return np.zeros((self.n_cells, 2))
        return np.stack([r * np.cos(alpha), r * np.sin(alpha)], -1)

    @property
    def _full_ring(self) -> bool:
        return self.shape_of_grid == "polar" and math.isclose(self.edges[0][-1] - self.edges[0][0], 2 * math.pi)

    @cached_property
    def areas(self) -> Array:
        """Cell sizes `(n_cells,)` in the product of the units; of a polar grid the true area."""
        first, second = (np.asarray(e) for e in self.edges)
        widths = np.diff(first)
        depths = 0.5 * np.diff(second**2) if self.shape_of_grid == "polar" else np.diff(second)
        return (widths[:, None] * depths[None, :]).ravel()

    def find(self, first: Array, second: Array) -> Array:
        """Cell index of points given along the layer's axes; -1 outside. Shapes broadcast; alpha of a full ring is periodic."""
        if self._full_ring:
            low = self.edges[0][0]
            first = np.minimum((np.asarray(first, float) - low) % (2 * math.pi) + low, np.nextafter(self.edges[0][-1], low))
        i = np.searchsorted(self.edges[0], first, side="right") - 1
        j = np.searchsorted(self.edges[1], second, side="right") - 1
        inside = (i >= 0) & (i < self.shape[0]) & (j >= 0) & (j < self.shape[1])
        return np.where(inside, i * self.shape[1] + j, -1)


@dataclass(frozen=True)
class Calorimeter:
    """Layers one behind the other; the response is their cells in this order.

    `symmetries` are those that cells, material and beam all have (see `symmetry.py`).
    """

    name: str
    layers: tuple[Layer, ...]
    symmetries: tuple[Symmetry, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "symmetries", tuple(self.symmetries))
        names = self.layer_names
        if not names or len(set(names)) != len(names):
            raise ValueError(f"calorimeter {self.name!r} needs layers with different names, not {list(names)}")

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(layer.name for layer in self.layers)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return sum(layer.n_cells for layer in self.layers)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each layer's cells sit in the response."""
        ends = np.cumsum([layer.n_cells for layer in self.layers])
        return {layer.name: slice(int(e) - layer.n_cells, int(e)) for layer, e in zip(self.layers, ends, strict=True)}

    @cached_property
    def layer_of_cell(self) -> Array:
        """Index of each cell's layer, `(n_cells,)`."""
        return np.repeat(np.arange(len(self.layers)), [layer.n_cells for layer in self.layers])

    def layer(self, name: str) -> Layer:
        """The layer called `name`."""
        if name not in self.slices:
            raise ValueError(f"calorimeter {self.name!r} has no layer {name!r}; it has {', '.join(self.layer_names)}")
        return self.layers[self.layer_names.index(name)]

    def images(self, cells: Array) -> dict[str, Array]:
        """Cells `(..., n_cells)` as one image `(..., n_first, n_second)` per layer."""
        self.check_cells(cells.shape[-1])
        return {n: cells[..., s].reshape(*cells.shape[:-1], *self.layer(n).shape) for n, s in self.slices.items()}

    def check_cells(self, n_cells: int, where: str = "the response") -> None:
        """ValueError unless a response of `n_cells` cells fits this calorimeter."""
        if n_cells != self.n_cells:
            raise ValueError(
                f"{where} has {n_cells} cells per event where geometry {self.name!r} has {self.n_cells};"
                " name the geometry that the file was made with"
            )

    def per_layer(self, values: Mapping[str, float]) -> Array:
        """One number per layer spread over its cells, `(n_cells,)`; every layer must be named."""
        if set(values) != set(self.layer_names):
            raise ValueError(
                f"values for layers {', '.join(values)} do not fit {self.name!r}, which has {', '.join(self.layer_names)}"
            )
        return np.repeat([float(values[n]) for n in self.layer_names], [layer.n_cells for layer in self.layers])

    def crop_of(self, parent: Calorimeter) -> Array:
        """Indices into `parent`'s cells that give this calorimeter's, found by position, `(n_cells,)`.

        Raises:
            ValueError: a layer or a cell of this calorimeter is not among the parent's.
        """
        if self == parent:
            return np.arange(self.n_cells)
        return np.concatenate([self._crop_layer(layer, parent) for layer in self.layers])

    def _crop_layer(self, layer: Layer, parent: Calorimeter) -> Array:
        other = parent.layer(layer.name)
        found = []
        for mine, theirs in zip(layer.edges, other.edges, strict=True):
            distance = np.abs(np.asarray(theirs)[:, None] - np.asarray(mine)[None, :])
            start = int(distance[:, 0].argmin())
            same = theirs[start : start + len(mine)]
            if len(same) < len(mine) or not np.allclose(same, mine, rtol=0, atol=1e-3 * (mine[1] - mine[0])):
                raise ValueError(
                    f"layer {layer.name!r} of {self.name!r} is no crop of that of {parent.name!r}: the cell edges differ"
                )
            found.append(np.arange(start, start + len(mine) - 1))
        cells: Array = parent.slices[layer.name].start + (found[0][:, None] * other.shape[1] + found[1][None, :]).ravel()
        return cells

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calorimeter:
        """The inverse of `to_dict`."""
        symmetries = tuple(Symmetry(**symmetry) for symmetry in data.get("symmetries", ()))
        return cls(data["name"], tuple(Layer(**layer) for layer in data["layers"]), symmetries)


def _atlas(name: str, eta_cells: tuple[int, int, int, int], phi: tuple[int, int], back_low: int) -> Calorimeter:
    """The ATLAS-like cluster: cells along eta per layer, and (coarse, fine) cells along phi, around the central middle cell."""
    presampler, strips, middle, back = eta_cells
    low = -0.025 * (middle // 2)
    coarse_low = -4 * DPHI * (phi[0] // 2)
    fine_low = -DPHI * (phi[1] // 2)
    return Calorimeter(
        name,
        (
            Layer.grid("presampler", (presampler, phi[0]), (0.025, 4 * DPHI), (low, coarse_low)),
            Layer.grid("strips", (strips, phi[0]), (0.003125, 4 * DPHI), (low, coarse_low)),
            Layer.grid("middle", (middle, phi[1]), (0.025, DPHI), (low, fine_low)),
            Layer.grid("back", (back, phi[1]), (0.05, DPHI), (0.05 * back_low, fine_low)),
        ),
    )


def _lhcb_ecal() -> Calorimeter:
    """5 x 5 blocks of 6 x 6 cells of 20 mm, centred on the beam spot."""
    layer = Layer.grid("ecal", (30, 30), (20.0, 20.0), (-300.0, -300.0), axes=("x", "y"), units=("mm", "mm"))
    return Calorimeter("lhcb-ecal", (layer,), SQUARE)


def _lhcb_hcal() -> Calorimeter:
    """The merged image of inner cells and split outer ones: rows along y, columns along x (see `hcal_geometry.py`)."""
    size = (HCAL_CELL, HCAL_CELL)
    low = (-0.5 * HCAL_SHAPE[0] * HCAL_CELL, -0.5 * HCAL_SHAPE[1] * HCAL_CELL)
    return Calorimeter("lhcb-hcal", (Layer.grid("hcal", HCAL_SHAPE, size, low, axes=("y", "x"), units=("mm", "mm")),))


def builtin(name: str) -> Calorimeter:
    """A geometry by name: `atlas-em-89`, `atlas-em-247`, `lhcb-ecal` or `lhcb-hcal`."""
    builders = {
        "atlas-em-89": lambda: _atlas("atlas-em-89", (3, 24, 3, 2), (2, 7), -1),
        "atlas-em-247": lambda: _atlas("atlas-em-247", (7, 56, 7, 4), (2, 11), -2),
        "lhcb-ecal": _lhcb_ecal,
        "lhcb-hcal": _lhcb_hcal,
    }
    if name not in builders:
        raise ValueError(
            f"no geometry called {name!r}; choose one of {', '.join(builders)}, or the path of a CaloChallenge XML file"
        )
    return builders[name]()


def read_calochallenge(path: str | Path, particle: str | None = None) -> Calorimeter:
    """Read a CaloChallenge binning file; layers without voxels are left out.

    Args:
        path: the XML file.
        particle: name of the `<Bin>` to read where there are several (`photon`, `electron`, ...).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a binning file, or the particle is not in it.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no geometry file {path}; check the path") from None
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not a CaloChallenge binning file: {error}") from error
    bins = {b.get("name", ""): b for b in root.iter("Bin")}
    if particle is None and len(bins) == 1:
        particle = next(iter(bins))
    if particle not in bins:
        raise ValueError(
            f"{path} describes {', '.join(bins) or 'no particle'}; name one of them as the particle, not {particle!r}"
        )
    try:
        layers = tuple(_polar_layer(element) for element in bins[particle].iter("Layer") if "," in element.get("r_edges", ""))
    except ValueError as error:
        raise ValueError(f"{path} is not a CaloChallenge binning file: {error}") from error
    return Calorimeter(f"{Path(path).stem}:{particle}", layers)


def _polar_layer(element: ElementTree.Element) -> Layer:
    """A `<Layer>` of a binning file: equal bins of alpha from -pi to pi, each with all bins of r."""
    alpha = np.linspace(-math.pi, math.pi, int(element.get("n_bin_alpha", "1")) + 1)
    r = tuple(float(edge) for edge in element.get("r_edges", "").split(","))
    return Layer(f"layer_{element.get('id')}", (tuple(alpha), r), ("alpha", "r"), ("rad", "mm"), "polar")


def load(name: str | Mapping[str, Any], folder: str | Path = ".") -> Calorimeter:
    """A geometry from what a recipe says: a built-in name, a CaloChallenge XML file, or plain data.

    Args:
        name: the built-in name; `FILE.xml` or `FILE.xml:PARTICLE`; or what `to_dict` gave.
        folder: what a file's path is relative to.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown name, or the file is no binning file.
    """
    if isinstance(name, Mapping):
        return Calorimeter.from_dict(name)
    path, _, particle = name.partition(":")
    if path.endswith(".xml"):
        return read_calochallenge(Path(folder) / path, particle or None)
    return builtin(name)
