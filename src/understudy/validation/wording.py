"""Conditions in words: what stands above a single shower."""

from __future__ import annotations

import numpy as np

from understudy.events import Events
from understudy.schema import Array, Block
from understudy.validation.observables import energy_block


def describe(events: Events, row: int) -> tuple[str, ...]:
    """The given conditions of one event, the incident energy first: `63.7 GeV`, `position 1.2, -3.4 mm`."""
    energy = energy_block(events.schema)
    blocks = sorted((b for b in events.schema.given if b.kind not in ("jagged", "image")), key=lambda b: b != energy)
    found = []
    for block in blocks:
        values = np.asarray(events.conditions[block.name][row]).reshape(-1)
        if block == energy:
            found.append(in_energy_unit(float(values[0])))
        elif block.width <= 4:
            found.append(_block(block, values))
    return tuple(found)


def in_energy_unit(energy: float) -> str:
    """An energy in MeV in words."""
    return f"{energy / 1e3:.3g} GeV" if energy >= 1e3 else f"{energy:.3g} MeV"


def is_momentum(block: Block) -> bool:
    """Whether a block is a three-momentum, said by its columns."""
    return block.columns == ("px", "py", "pz")


def _block(block: Block, values: Array) -> str:
    if is_momentum(block) and values[2] > 0:
        return "slopes " + ", ".join(_plain(f"{v / values[2]:.2f}") for v in values[:2])
    numbers = ", ".join(_plain(f"{v:.2g}") for v in values)
    return " ".join(part for part in (block.name.replace("_", " "), numbers, block.unit) if part)


def _plain(number: str) -> str:
    """A minus sign in place of the hyphen."""
    return number.replace("-", "\u2212")
