r"""Physical conditions to the features that a model sees.

Each block of conditions is encoded by name:

===============  ===================================================================================================
`standardise`    $(x - \mu)/\sigma$ of each component
`absolute`       $|x|$, then standardised
`log`            $\ln x$, then standardised; values must be positive
`log1p:S`        $\ln(1 + x/S)$, then standardised; anything below zero counts as zero
`layers:S,E`     energies of layers: $\ln(1 + x_l/S)$, shares $x_l / \sum_j x_j$, and the response to the incident energy
                 (the condition `E`) less one, times $\sqrt{E/\mathrm{GeV}}$; all standardised
`raw`            as it is
`one-hot:K`      a categorical block with the categories $0 \ldots K - 1$; any other category gives zeros
`periodic`       $\sin 2\pi x/P$ and $\cos 2\pi x/P$; the period $P$ is the block's own, or `periodic:P`
`harmonics:P,K`  $x$ and the sines and cosines of $2\pi k x/P$, $k = 1 \ldots K$, standardised: for what changes from
                 cell to cell as a particle moves across a wider one of size $P$
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

from collections.abc import Mapping

import torch
from torch import Tensor

from understudy.schema import Schema
from understudy.transforms.base import Fitted, Tensors, check_sample, condition
from understudy.transforms.encodings import ENCODINGS, BoxCoxCells, Direction, Encoding, OneHot
from understudy.transforms.moments import mean_and_scale

SAFE = 1e-3
"""The floor of a positive quantity, relative to the smallest value seen in the fit."""


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
        return [
            torch.cat([condition(conditions, name).to(self.mean) for name in (e.block.name, e.beside) if name is not None], 1)
            for e in self.encodings
        ]

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
    encoding = ENCODINGS[kind](known[name], argument.strip())
    if encoding.beside is not None and (encoding.beside not in known or known[encoding.beside].width != 1):
        raise ValueError(
            f"{spec!r} of {name!r} compares it with one number per event, but {encoding.beside!r} is none; these events have"
            f" {', '.join(b.name for b in schema.conditions if b.width == 1) or 'none'}"
        )
    return encoding


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
