"""What every Simulator does with the conditions it is given: match them with the schema, and flag what lies outside."""

from __future__ import annotations

import numpy as np

from understudy.domain import Domain
from understudy.events import Events
from understudy.schema import Array, Block, Schema
from understudy.simulator import Conditions

NUMBERS_TOGETHER = 1_000_000
"""Numbers of the responses that are simulated together: networks of images hold a hundred times as many in between."""


def together(response_width: int, most: int = 2000) -> int:
    """Events that are simulated together, at most `most`, fewer of them where a response is wide."""
    return max(1, min(most, NUMBERS_TOGETHER // max(response_width, 1)))


def condition_blocks(schema: Schema, conditions: Conditions) -> tuple[Block, ...]:
    """The schema's condition blocks among `conditions`: all given ones, and derived ones where present.

    Raises:
        ValueError: a given condition is missing, or one is not known.
    """
    if missing := [b.name for b in schema.given if b.name not in conditions]:
        raise ValueError(
            f"the conditions lack {', '.join(missing)}; this simulation needs {', '.join(b.name for b in schema.given)}"
        )
    known = {b.name for b in schema.conditions}
    if unknown := [name for name in conditions if name not in known]:
        raise ValueError(
            f"unknown condition {', '.join(unknown)}; this simulation takes {', '.join(b.name for b in schema.conditions)}"
        )
    return tuple(b for b in schema.conditions if b.name in conditions)


def answered(events: Events, packed: Array, detected: Array | None) -> Events:
    """`events` with the packed response; where `detected` `(n,)` is False it is undefined (NaN), and the mask says so."""
    if detected is None:
        return events.with_response(packed)
    packed[~detected] = np.nan
    return events.with_response(packed, mask=detected)


def flagged(events: Events, domain: Domain) -> Events:
    """`events` with `aux["out_of_domain"]`, after a warning where any of them is outside."""
    outside: Array = domain.outside(events.conditions, warn=True)
    return events.with_aux(Block("out_of_domain", kind="categorical"), outside.astype(np.int64))
