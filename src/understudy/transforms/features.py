r"""Physical conditions to the features that a model sees.

Each block of conditions is encoded by name:

===============  ===================================================================================================
`standardise`    $(x - \mu)/\sigma$ of each component
`log`            $\ln x$, then standardised; values must be positive
`log1p:S`        $\ln(1 + x/S)$, then standardised; anything below zero counts as zero
`raw`            as it is
`one-hot:K`      a categorical block with the categories $0 \ldots K - 1$; any other category gives zeros
`periodic`       $\sin 2\pi x/P$ and $\cos 2\pi x/P$; the period $P$ is the block's own, or `periodic:P`
`direction`      a momentum $(p_x, p_y, p_z)$ with $p_z > 0$ as $\ln|p|$, $p_x/p_z$ and $p_y/p_z$, then standardised
`box-cox:S`      energies of cells as $(t^\lambda - 1)/\lambda$ with $t = 1 + x/S$, the power fitted to the cells that are
                 not empty, or fixed as in `box-cox:S,P` (0 is the logarithm); not standardised: empty cells stay at zero
===============  ===================================================================================================

The number of features follows from the encodings and the schema alone, so that an encoder is built from a recipe and
then filled from a file. Where a logarithm or a slope needs a positive number, anything below a thousandth of the
smallest value seen in the fit is taken to be that thousandth: such conditions are far outside the trained domain, which
is flagged elsewhere, and the features stay finite.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from understudy.schema import Block, Schema
from understudy.transforms.base import Fitted, Tensors, check_sample, condition
from understudy.transforms.box_cox import LARGEST_POWER, BoxCox
from understudy.transforms.functions import expm1, log1p
from understudy.transforms.moments import mean_and_scale

SAFE = 1e-3
"""The floor of a positive quantity, relative to the smallest value seen in the fit."""


class Encoding(ABC):
    """How one block becomes columns of features.

    Args:
        block: the block.
        argument: what follows the colon in a recipe's `encoding:argument`, else empty.
    """

    names: tuple[str, ...]
    standardised = False

    def __init__(self, block: Block, argument: str) -> None:
        self.block = block
        if argument and not isinstance(self, OneHot | Periodic | BoxCoxCells | LogAbove):
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
    "log": Log,
    "log1p": LogAbove,
    "raw": Raw,
    "one-hot": OneHot,
    "periodic": Periodic,
    "direction": Direction,
    "box-cox": BoxCoxCells,
}


class FeatureEncoder(Fitted):
    """Physical conditions, by block name, to features `(n, size)`.

    Args:
        encodings: encoding of each block to use, e.g. `{"incident_energy": "log", "particle": "one-hot:3"}`; conditions
            that are not named are not seen by the model.
        schema: the events' schema.

    Raises:
        ValueError: no, or an unknown, block or encoding, or one that does not fit the other.
    """

    mean: Tensor
    scale: Tensor
    floor: Tensor

    def __init__(self, encodings: Mapping[str, str], schema: Schema) -> None:
        super().__init__()
        if not encodings:
            raise ValueError(f"no condition is encoded; name at least one of {', '.join(b.name for b in schema.conditions)}")
        self.encodings = tuple(_encoding(name, spec, schema) for name, spec in encodings.items())
        self.register_buffer("mean", torch.zeros(self.size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(self.size, dtype=torch.float64))
        self.register_buffer("floor", torch.zeros(len(self.encodings), dtype=torch.float64))

    @property
    def names(self) -> tuple[str, ...]:
        """A name per feature."""
        return tuple(name for e in self.encodings for name in e.names)

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.names)

    def fit(self, conditions: Tensors, weights: Tensor | None = None) -> FeatureEncoder:
        """Learn the constants from a training sample.

        Args:
            conditions: `(n,)` or `(n, *shape)` by block name, physical units.
            weights: optional `(n,)`, may be negative; must sum to more than zero.

        Raises:
            ValueError: no events, weights that do not sum to more than zero, a value that is not positive where the
                encoding needs one, or a category beyond those declared.
        """
        values = self._values(conditions)
        check_sample(type(self).__name__, len(values[0]), weights)
        with torch.no_grad():
            self._keep(floor=torch.stack([_floor(e, v, weights) for e, v in zip(self.encodings, values, strict=True)]))
            mean, scale = mean_and_scale(self._columns(values), weights)
            fixed = [not e.standardised for e in self.encodings for _ in e.names]
            mask = torch.tensor(fixed, device=mean.device)
            self._keep(mean=mean.masked_fill(mask, 0.0), scale=scale.masked_fill(mask, 1.0))
        self._set_fitted()
        return self

    def forward(self, conditions: Tensors) -> Tensor:
        """Features `(n, size)`, float32; RuntimeError if not fitted, KeyError if a condition is missing.

        They are computed in double precision: a sharp network makes much of the last bits of a logarithm, and every engine
        that runs it should see the same ones.
        """
        self._require_fitted()
        exact = (self._columns(self._values(conditions)) - self.mean) / self.scale
        return exact.to(torch.float32)

    def _values(self, conditions: Tensors) -> list[Tensor]:
        return [condition(conditions, e.block.name).to(self.mean) for e in self.encodings]

    def _columns(self, values: list[Tensor]) -> Tensor:
        return torch.cat([e._columns(v, self.floor[i]) for i, (e, v) in enumerate(zip(self.encodings, values, strict=True))], 1)


def _encoding(name: str, spec: str, schema: Schema) -> Encoding:
    known = {b.name: b for b in schema.conditions}
    if name not in known:
        raise ValueError(f"unknown condition {name!r} to encode; these events have {', '.join(known) or 'none'}")
    kind, _, argument = spec.partition(":")
    if kind not in ENCODINGS:
        raise ValueError(f"unknown encoding {spec!r} of {name!r}; choose one of {', '.join(ENCODINGS)}")
    if known[name].kind == "jagged" or (known[name].kind == "image" and kind not in ("box-cox", "raw")):
        raise ValueError(
            f"the condition {name!r} is {known[name].kind} and cannot be encoded by {kind!r}; "
            + ("leave it out" if known[name].kind == "jagged" else "choose box-cox:SHIFT or raw")
        )
    return ENCODINGS[kind](known[name], argument.strip())


def _floor(encoding: Encoding, values: Tensor, weights: Tensor | None) -> Tensor:
    """The safe floor of a block's positive quantity, or its power, after a check of the values."""
    name = encoding.block.name
    if not bool(values.isfinite().all()):
        raise ValueError(f"the condition {name!r} holds NaN or infinity; remove or mend these events")
    if isinstance(encoding, BoxCoxCells):
        if bool((values < 0).any()):
            raise ValueError(f"the condition {name!r} holds {values.min():g}, and energies of cells are not negative")
        return values.new_tensor(encoding.power(values, weights))
    if isinstance(encoding, OneHot) and not bool(((values >= 0) & (values < encoding.count)).all()):
        raise ValueError(
            f"the condition {name!r} holds categories {values.min():g} to {values.max():g} where one-hot:{encoding.count}"
            f" allows 0 to {encoding.count - 1}; declare them all"
        )
    positive = encoding._positive(values)
    if positive is None:
        return values.new_zeros(())
    if not bool((positive > 0).all()):
        what = "pz" if isinstance(encoding, Direction) else "values"
        raise ValueError(
            f"the condition {name!r} holds {what} of {positive.min():g}, which has no logarithm or slope; choose another encoding"
        )
    return SAFE * positive.min()
