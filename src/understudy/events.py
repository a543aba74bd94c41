"""Events: the one thing that travels through Understudy.

A set of events holds *conditions* (what a simulation is asked for), the *response* (what the detector answers), optional
*weights* (which may be negative, as sWeights are), an optional *mask* (detected or not) and *aux* (truth and labels that
are sliced along but that no model sees). Events are immutable: every operation returns new ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from understudy.schema import Array, Block, Schema

__all__ = ["Array", "Block", "Events", "Schema"]

Index = slice | Array


@dataclass(frozen=True, eq=False)
class Events:
    """Conditions and responses of `n` events.

    Args:
        schema: names, kinds, units and shapes of all blocks.
        conditions: arrays `(n, *block.shape)` by block name.
        response: arrays `(n, *block.shape)` by block name; may be empty (conditions waiting to be simulated).
        weights: optional `(n,)`, may be negative.
        mask: optional boolean `(n,)`; False where nothing was detected and the response is undefined.
        aux: arrays that travel along, unseen by models.
        where: origin of the arrays, named in errors.

    Raises:
        ValueError: a block is missing or unknown, has the wrong length or shape, NaN, or values below its minimum.
    """

    schema: Schema
    conditions: Mapping[str, Any]
    response: Mapping[str, Any] = field(default_factory=dict)
    weights: Array | None = None
    mask: Array | None = None
    aux: Mapping[str, Any] = field(default_factory=dict)
    where: str = "events"

    def __post_init__(self) -> None:
        n = len(self)
        mask = None if self.mask is None else self._vector("mask", self.mask, n, np.bool_)
        weights = None if self.weights is None else self._vector("weights", self.weights, n, np.float64)
        if weights is not None and not np.isfinite(weights).all():
            raise ValueError(f"{self.where}: the weights hold NaN or infinity; remove or mend these events")
        for part, valid in (("conditions", None), ("response", mask), ("aux", None)):
            object.__setattr__(self, part, self._checked(part, n, valid))
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "weights", weights)

    def _vector(self, name: str, values: Any, n: int, dtype: Any) -> Array:
        array: Array = np.asarray(values).astype(dtype)
        if array.shape != (n,):
            raise ValueError(f"{self.where}: {name} has shape {array.shape} where ({n},) is expected")
        array.flags.writeable = False
        return array

    def _checked(self, part: str, n: int, valid: Array | None) -> Mapping[str, Any]:
        blocks: tuple[Block, ...] = getattr(self.schema, part)
        given: Mapping[str, Any] = getattr(self, part)
        if part == "response" and not given:
            return MappingProxyType({})
        names = {b.name for b in blocks}
        if missing := names - set(given):
            raise ValueError(
                f"{self.where}: the {part} lack {', '.join(sorted(missing))}; found {', '.join(sorted(given)) or 'nothing'}"
            )
        if unknown := set(given) - names:
            raise ValueError(f"{self.where}: the schema does not name {', '.join(sorted(unknown))} among the {part}")
        return MappingProxyType({b.name: b.check(given[b.name], n, self.where, valid) for b in blocks})

    def __reduce__(self) -> tuple[Any, ...]:
        """Events cross to other processes whole; read-only mappings cannot."""
        parts = (dict(self.conditions), dict(self.response), self.weights, self.mask, dict(self.aux))
        return Events, (self.schema, *parts, self.where)

    def __len__(self) -> int:
        for part in (self.conditions, self.response, self.aux):
            for values in part.values():
                return len(values)
        return 0

    def __getitem__(self, key: str | Index) -> Any:
        """A block by name, or the events selected by a slice, an index array or a boolean array."""
        if isinstance(key, str):
            for part in (self.conditions, self.response, self.aux):
                if key in part:
                    return part[key]
            self.schema.block(key)  # raises, naming what there is
            raise KeyError(f"{key!r} has not been simulated yet")
        if isinstance(key, int | np.integer):
            raise TypeError("events are selected by slices or arrays; use events[i : i + 1] for one event")

        def cut(part: Mapping[str, Any]) -> dict[str, Any]:
            return {k: v[key] for k, v in part.items()}

        return replace(
            self,
            conditions=cut(self.conditions),
            response=cut(self.response),
            aux=cut(self.aux),
            weights=None if self.weights is None else self.weights[key],
            mask=None if self.mask is None else self.mask[key],
        )

    def packed(self) -> Array:
        """The response blocks side by side, float32 `(n, response_width)`."""
        return self.schema.pack(self.response)

    def batches(self, size: int) -> Iterator[Events]:
        """Consecutive slices of at most `size` events."""
        if size < 1:
            raise ValueError(f"events cannot be cut into batches of {size}; give a size of 1 or more")
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def split(self, fractions: Sequence[float], generator: np.random.Generator, group: int = 1) -> tuple[Events, ...]:
        """Disjoint random parts; consecutive groups of `group` events stay together.

        Args:
            fractions: the parts' sizes; they must add up to 1 or less.
            generator: draws which group goes where.
            group: events that share a seed or an origin and must not be torn apart (a simulation chunk, say).
        """
        if group < 1:
            raise ValueError(f"events cannot be kept in groups of {group}; give a group of 1 or more")
        if not fractions or min(fractions) < 0 or sum(fractions) > 1 + 1e-9:
            raise ValueError(f"the split {list(fractions)} must hold fractions that add up to at most 1")
        groups = -(-len(self) // group)
        order = generator.permutation(groups)
        cuts = np.round(np.cumsum([0.0, *fractions]) * groups).astype(int)
        parts = []
        for name, (a, b) in enumerate(itertools.pairwise(cuts)):
            chosen = np.sort(order[a:b])
            index = (chosen[:, None] * group + np.arange(group)).ravel()
            index = index[index < len(self)]
            if len(index) == 0 and fractions[name] > 0:
                raise ValueError(f"{len(self)} events in groups of {group} are too few to split into {list(fractions)}")
            parts.append(self[index])
        return tuple(parts)

    @classmethod
    def concatenate(cls, parts: Sequence[Events]) -> Events:
        """Several sets of events with one schema, one after the other."""
        if not parts:
            raise ValueError("nothing to concatenate: zero sets of events were given")
        first = parts[0]
        if any(p.schema != first.schema for p in parts):
            raise ValueError("sets of events with different schemas cannot be concatenated")
        if any(bool(p.response) != bool(first.response) for p in parts):
            raise ValueError("events with a response and events without one cannot be concatenated; simulate them first")

        def join(values: list[Any]) -> Any:
            if isinstance(values[0], np.ndarray):
                return np.concatenate(values)
            import awkward

            return awkward.concatenate(values)

        def merge(part: str) -> dict[str, Any]:
            return {name: join([getattr(p, part)[name] for p in parts]) for name in getattr(first, part)}

        def optional(part: str) -> Array | None:
            if all(getattr(p, part) is None for p in parts):
                return None
            default: Any = 1.0 if part == "weights" else True
            filled = [np.full(len(p), default) if getattr(p, part) is None else getattr(p, part) for p in parts]
            return np.concatenate(filled)

        return replace(
            first,
            conditions=merge("conditions"),
            response=merge("response"),
            aux=merge("aux"),
            weights=optional("weights"),
            mask=optional("mask"),
        )

    def with_response(
        self, response: Mapping[str, Any] | Array, blocks: Sequence[Block] | None = None, mask: Array | None = None
    ) -> Events:
        """These events with another response (by name, or packed), and optionally other response blocks or mask."""
        schema = self.schema if blocks is None else replace(self.schema, response=tuple(blocks))
        named = schema.unpack(response) if isinstance(response, np.ndarray) else response
        return replace(self, schema=schema, response=named, mask=self.mask if mask is None else mask)

    def with_condition(self, block: Block, values: Any) -> Events:
        """These events with one condition added or replaced."""
        schema = replace(self.schema, conditions=_with(self.schema.conditions, block))
        return replace(self, schema=schema, conditions={**self.conditions, block.name: values})

    def with_aux(self, block: Block, values: Any) -> Events:
        """These events with one auxiliary block added or replaced."""
        schema = replace(self.schema, aux=_with(self.schema.aux, block))
        return replace(self, schema=schema, aux={**self.aux, block.name: values})

    def select_conditions(self, names: Sequence[str]) -> Events:
        """These events with only the conditions called `names`, in that order; KeyError if one is not a condition."""
        known = {b.name: b for b in self.schema.conditions}
        if unknown := [n for n in names if n not in known]:
            raise KeyError(f"{', '.join(unknown)} is not among the conditions, which are {', '.join(known) or 'none'}")
        blocks = tuple(known[n] for n in names)
        return replace(self, schema=replace(self.schema, conditions=blocks), conditions={n: self.conditions[n] for n in names})

    def without_response(self) -> Events:
        """The given conditions alone (no response, no derived condition): what a simulator is asked for."""
        given = self.schema.given
        schema = replace(self.schema, conditions=given)
        return replace(self, schema=schema, conditions={b.name: self.conditions[b.name] for b in given}, response={}, mask=None)


def _with(blocks: Sequence[Block], block: Block) -> tuple[Block, ...]:
    """`blocks` with `block` in the place of its namesake, or at the end."""
    if block.name not in {b.name for b in blocks}:
        return (*blocks, block)
    return tuple(block if b.name == block.name else b for b in blocks)
