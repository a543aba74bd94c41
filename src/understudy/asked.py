"""Conditions said in words, as on the command line: `label=3`, `incident_energy=50000`, `position=10,20`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from understudy.domain import Domain
from understudy.events import Events
from understudy.schema import Array, Block, Schema


def said(words: Sequence[str], schema: Schema) -> dict[str, Array]:
    """Values by name of conditions given as `NAME=VALUE` or `NAME=VALUE,VALUE,...`, one value for each component.

    Raises:
        ValueError: no such condition, said twice, not a number, or another number of components.
    """
    blocks = {b.name: b for b in schema.given}
    values: dict[str, Array] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in blocks:
            raise ValueError(f"{word!r} is no condition to sample at: say NAME=VALUE with one of {', '.join(blocks)}")
        if name in values:
            raise ValueError(f"the condition {name!r} is given twice; say it once")
        try:
            numbers = np.array([float(part) for part in text.split(",")])
        except ValueError:
            raise ValueError(f"{word!r}: {text!r} is no number; say NAME=VALUE, or NAME=VALUE,VALUE") from None
        if len(numbers) != blocks[name].width:
            raise ValueError(f"{word!r} gives {len(numbers)} numbers where {name!r} has {blocks[name].width} components")
        values[name] = numbers.reshape(blocks[name].shape)
    return values


def at(values: Mapping[str, Array], events: int, schema: Schema, domain: Domain) -> Events:
    """`events` conditions: those in `values` for all of them, and classes that are not said each equally often.

    Raises:
        ValueError: a condition that is no class was not said.
    """
    asked = {}
    for block in schema.given:
        if block.name in values:
            asked[block.name] = np.broadcast_to(values[block.name], (events, *block.shape))
        elif is_class(block, domain):
            low, high = int(domain.low[block.name][0]), int(domain.high[block.name][0])
            asked[block.name] = low + np.arange(events) % (high - low + 1)
        else:
            raise ValueError(f"say {block.name!r} as well, as {block.name}=VALUE, or give the conditions in a file")
    return Events(Schema(schema.given, schema.response), asked, where="the conditions on the command line")


def is_class(block: Block, domain: Domain) -> bool:
    """Whether a condition is one class, of which it is known how many there are."""
    return block.kind == "categorical" and block.width == 1 and block.name in domain.low
