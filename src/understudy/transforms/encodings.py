"""How one block of conditions becomes columns of features; the table of all encodings is in `features.py`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from understudy.schema import Block
from understudy.transforms.box_cox import LARGEST_POWER, BoxCox
from understudy.transforms.functions import expm1, log1p

MOST_HARMONICS = 32
GEV = 1000.0


class Encoding(ABC):
    """How one block becomes columns of features.

    Args:
        block: the block.
        argument: what follows the colon in a recipe's `encoding:argument`, else empty.
    """

    names: tuple[str, ...]
    standardised = False
    beside: str | None = None
    """Another block whose values come behind this block's own, where the encoding compares the two."""

    def __init__(self, block: Block, argument: str) -> None:
        self.block = block
        if argument and not isinstance(self, OneHot | Periodic | BoxCoxCells | LogAbove | Harmonics | Layers):
            raise ValueError(f"the encoding of {block.name!r} takes no argument, found {argument!r}; leave out the colon")
        self._prepare(argument)

    @abstractmethod
    def _prepare(self, argument: str) -> None:
        """Set `names`, one per column; ValueError if the block does not fit the encoding."""

    @abstractmethod
    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        """Columns `(n, len(names))` of values `(n, width)`, before they are standardised."""

    def _positive(self, values: Tensor) -> Tensor | None:
        """What has to be positive, or None."""
        return None

    def components(self) -> tuple[str, ...]:
        """A name per component of the block."""
        if self.block.width == 1:
            return (self.block.name,)
        own = self.block.columns if len(self.block.columns) == self.block.width else range(self.block.width)
        return tuple(f"{self.block.name}[{c}]" for c in own)


class Raw(Encoding):
    """As it is."""

    def _prepare(self, argument: str) -> None:
        self.names = self.components()

    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        return values


class Standardise(Raw):
    """Mean 0 and standard deviation 1."""

    standardised = True


class Absolute(Raw):
    """The absolute value, standardised: for what is the same on both sides of a detector."""

    standardised = True

    def _prepare(self, argument: str) -> None:
        self.names = tuple(f"|{c}|" for c in self.components())

    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        return values.abs()


class Log(Encoding):
    """The logarithm, standardised."""

    standardised = True

    def _prepare(self, argument: str) -> None:
        self.names = tuple(f"log({c})" for c in self.components())

    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        return torch.maximum(values, floor).log()

    def _positive(self, values: Tensor) -> Tensor:
        return values


class LogAbove(Encoding):
    """ln(1 + x/S), standardised: a logarithm that zeros have as well."""

    standardised = True

    def _prepare(self, argument: str) -> None:
        try:
            self.shift = float(argument)
        except ValueError:
            self.shift = 0.0
        if not 0 < self.shift < math.inf:
            raise ValueError(
                f"log1p of {self.block.name!r} needs its shift, a number above 0, as in log1p:30, found {argument!r}"
            )
        self.names = tuple(f"log1p({c})" for c in self.components())

    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        return (1 + values.clamp(min=0.0) / self.shift).log()


class Layers(Encoding):
    r"""Energies of layers as logarithms, as shares of their sum, and the response to the incident energy.

    $\ln(1 + E_l/S)$, $E_l / \sum_j E_j$ and $(\sum_j E_j / E - 1) \sqrt{E/\mathrm{GeV}}$, all standardised: a response that is
    off by a standard deviation at 50 GeV moves a logarithm by one per cent, which a network does not see, and the last number by
    one of its own standard deviations.
    """

    standardised = True

    def _prepare(self, argument: str) -> None:
        shift, _, other = argument.partition(",")
        try:
            self.shift = float(shift)
        except ValueError:
            self.shift = 0.0
        self.beside = other.strip()
        if not 0 < self.shift < math.inf or not self.beside:
            raise ValueError(
                f"layers of {self.block.name!r} needs a shift above 0 [MeV] and the condition that is the incident energy, as in"
                f" layers:30,incident_energy, found {argument!r}"
            )
        parts = self.components()
        logarithms, shares = ([f"{f}({c})" for c in parts] for f in ("log1p", "share"))
        self.names = (*logarithms, *(shares if len(parts) > 1 else ()), f"response({self.block.name})")

    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        energies, incident = values[:, :-1].clamp(min=0.0), torch.maximum(values[:, -1:], floor)
        total = energies.sum(1, keepdim=True)
        shares = [energies / torch.where(total > 0, total, 1.0)] if energies.shape[1] > 1 else []
        response = (total / incident - 1) * (incident / GEV).sqrt()
        return torch.cat([(1 + energies / self.shift).log(), *shares, response], 1)

    def _positive(self, values: Tensor) -> Tensor:
        return values[:, -1]


class OneHot(Encoding):
    """One column per category."""

    def _prepare(self, argument: str) -> None:
        if self.block.width != 1:
            raise ValueError(f"one-hot needs one category per event, but {self.block.name!r} has shape {self.block.shape}")
        if not argument.isdecimal() or int(argument) < 1:
            raise ValueError(
                f"one-hot of {self.block.name!r} needs the number of categories, as in one-hot:5, found {argument!r}"
            )
        self.count = int(argument)
        self.names = tuple(f"{self.block.name}={k}" for k in range(self.count))

    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        return (values == torch.arange(self.count, device=values.device, dtype=values.dtype)).to(values.dtype)


class Periodic(Encoding):
    """Sine and cosine of the phase."""

    def _prepare(self, argument: str) -> None:
        try:
            self.period = float(argument) if argument else float(self.block.period or 0)
        except ValueError:
            self.period = 0.0
        if not 0 < self.period < math.inf:
            raise ValueError(
                f"periodic of {self.block.name!r} needs a positive period in the schema or as periodic:P, found {argument!r}"
            )
        self.names = tuple(f"{f}({c})" for f in ("sin", "cos") for c in self.components())

    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        phase = values * (2 * math.pi / self.period)
        return torch.cat([phase.sin(), phase.cos()], 1)


class Harmonics(Encoding):
    """Each component, and sine and cosine of the first multiples of its phase, all standardised."""

    standardised = True

    def _prepare(self, argument: str) -> None:
        period, _, count = argument.partition(",")
        try:
            self.period, self.count = float(period), int(count)
        except ValueError:
            self.period, self.count = 0.0, 0
        if not 0 < self.period < math.inf or not 1 <= self.count <= MOST_HARMONICS:
            raise ValueError(
                f"harmonics of {self.block.name!r} needs a period above 0 and how many harmonics, 1 to {MOST_HARMONICS}, as in"
                f" harmonics:37.5,8, found {argument!r}"
            )
        waves = [f"{f}({k} {c})" for k in range(1, self.count + 1) for f in ("sin", "cos") for c in self.components()]
        self.names = (*self.components(), *waves)

    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        phases = [values * (2 * math.pi * k / self.period) for k in range(1, self.count + 1)]
        return torch.cat([values, *(wave for phase in phases for wave in (phase.sin(), phase.cos()))], 1)


class Direction(Encoding):
    """Momentum and slopes of a forward-going particle."""

    standardised = True

    def _prepare(self, argument: str) -> None:
        if self.block.shape != (3,):
            raise ValueError(
                f"direction needs a momentum (px, py, pz), but {self.block.name!r} has shape {self.block.shape} per event"
            )
        px, py, pz = self.block.columns or ("px", "py", "pz")
        self.names = (f"log|{self.block.name}|", f"{self.block.name}[{px}/{pz}]", f"{self.block.name}[{py}/{pz}]")

    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        transverse, pz = values[:, :2], torch.maximum(values[:, 2:], floor)
        momentum = torch.cat([transverse, pz], 1).square().sum(1, keepdim=True).sqrt()
        return torch.cat([momentum.log(), transverse / pz], 1)

    def _positive(self, values: Tensor) -> Tensor:
        return values[:, 2]


class BoxCoxCells(Encoding):
    """Energies of cells by the Box-Cox power transform, whose power takes the place of the floor."""

    def _prepare(self, argument: str) -> None:
        shift, _, power = argument.partition(",")
        try:
            self.shift, self.fixed = float(shift), float(power) if power else None
        except ValueError:
            self.shift = 0.0
        if not 0 < self.shift < math.inf or abs(self.fixed or 0.0) > LARGEST_POWER:
            raise ValueError(
                f"box-cox of {self.block.name!r} needs its shift, an energy above 0, as in box-cox:0.1, and optionally a power"
                f" from -{LARGEST_POWER:g} to {LARGEST_POWER:g}, as in box-cox:0.1,0, found {argument!r}"
            )
        self.names = tuple(f"box-cox({c})" for c in self.components())

    def _columns(self, values: Tensor, floor: Tensor) -> Tensor:
        power = floor.float()  # ONNX Runtime has the hyperbolic functions in single precision only
        exact = expm1(power * log1p(values.float().clamp(min=0.0) / self.shift)) / power
        return exact.to(values.dtype)

    def power(self, values: Tensor, weights: Tensor | None) -> float:
        """The fixed power, or that of largest likelihood of the values above 0."""
        transform = BoxCox(self.shift, self.fixed, of="positive").fit(values.float(), {}, weights)
        return float(transform.power)


ENCODINGS: dict[str, type[Encoding]] = {
    "standardise": Standardise,
    "absolute": Absolute,
    "log": Log,
    "log1p": LogAbove,
    "layers": Layers,
    "raw": Raw,
    "one-hot": OneHot,
    "periodic": Periodic,
    "harmonics": Harmonics,
    "direction": Direction,
    "box-cox": BoxCoxCells,
}
