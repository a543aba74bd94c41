"""The range of conditions that a stand-in was trained on, and what to say outside it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from understudy.events import Events
from understudy.schema import Array


class OutOfDomainWarning(UserWarning):
    """Conditions outside the range that was trained on."""


@dataclass(frozen=True)
class Domain:
    """Lowest and highest value of every component of the given conditions, by block name.

    An image among the conditions has no such range, since the cells of each new event would leave it somewhere: only the
    mean of each of its numbers is kept.
    """

    low: Mapping[str, tuple[float, ...]]
    high: Mapping[str, tuple[float, ...]]
    units: Mapping[str, str]
    images: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Events) -> Domain:
        """The range that `events` cover in their given, non-jagged conditions; ValueError if there are no events."""
        if len(events) == 0:
            raise ValueError("zero events cover no range of conditions; give the training events")
        blocks = [b for b in events.schema.given if b.kind not in ("jagged", "image")]
        rows = {b.name: _rows(events.conditions[b.name]) for b in blocks}
        return cls(
            {k: tuple(float(x) for x in v.min(0)) for k, v in rows.items()},
            {k: tuple(float(x) for x in v.max(0)) for k, v in rows.items()},
            {b.name: b.unit for b in blocks},
            {
                b.name: tuple(float(x) for x in _rows(events.conditions[b.name]).mean(0))
                for b in events.schema.given
                if b.kind == "image"
            },
        )

    def outside(self, conditions: Mapping[str, Any], warn: bool = False, tolerance: float = 1e-3) -> Array:
        """Boolean `(n,)`: True where any component lies outside by more than `tolerance` of its range.

        Args:
            conditions: arrays by block name.
            warn: issue one `OutOfDomainWarning` that names the block, the range and the number of events.
            tolerance: how far beyond the range of a finite training sample still counts as inside.

        Raises:
            ValueError: a condition that has a range is missing.
        """
        if missing := [name for name in self.low if name not in conditions]:
            raise ValueError(f"the conditions lack {', '.join(missing)}; given are {', '.join(conditions) or 'none'}")
        n = len(next(iter(conditions.values()))) if conditions else 0
        flags = np.zeros(n, bool)
        for name, low in self.low.items():
            values = _rows(conditions[name])
            slack = tolerance * (np.asarray(self.high[name]) - np.asarray(low))
            bad = ~((values >= np.asarray(low) - slack) & (values <= np.asarray(self.high[name]) + slack)).all(1)
            if warn and bad.any():
                spans = ", ".join(f"{a:.4g} to {b:.4g}" for a, b in zip(low, self.high[name], strict=True))
                unit = f" {self.units[name]}" if self.units[name] else ""
                warnings.warn(
                    f"{int(bad.sum())} of {n} events have {name} outside the trained range ({spans}{unit});"
                    " they are simulated and flagged in out_of_domain",
                    OutOfDomainWarning,
                    stacklevel=3,
                )
            flags |= bad
        return flags

    def draw(self, n: int, generator: np.random.Generator) -> dict[str, Array]:
        """`n` conditions drawn uniformly over the range, and images exponentially about their mean; by name, `(n, width)`."""
        drawn = {name: generator.uniform(low, self.high[name], (n, len(low))) for name, low in self.low.items()}
        return drawn | {k: generator.exponential(1.0, (n, len(mean))) * mean for k, mean in self.images.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = {"low": dict(self.low), "high": dict(self.high), "units": dict(self.units)}
        return plain | ({"images": dict(self.images)} if self.images else {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Domain:
        """The inverse of `to_dict`."""
        low, high, images = ({k: tuple(v) for k, v in data.get(part, {}).items()} for part in ("low", "high", "images"))
        return cls(low, high, dict(data["units"]), images)


def _rows(values: Any) -> Array:
    """`(n, width)` with the precision that events have."""
    array = np.asarray(values)
    return array.astype(np.float32).astype(float).reshape(len(array), int(np.prod(array.shape[1:], dtype=int)))
