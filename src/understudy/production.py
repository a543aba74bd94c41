"""Reference events in any number: a simulator's output, chunk by chunk, into one file.

Every chunk of events has its own seed sequence, `(seed, chunk number)`, and is on disk when it is done. So memory is that of one
chunk, and a production that was killed goes on with the chunk that it was at and ends with the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from understudy import seeds, storage
from understudy.chunks import claim, join
from understudy.registry import Factory, explain

CHUNK = 1000
"""Events per seed sequence; part of what a seed means. Enough to keep many processes busy, and little to lose."""


def produce(
    source: Any,
    events: int,
    out: str | Path,
    *,
    seed: int = 1,
    words: Mapping[str, Any] | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Make `events` events with a source and write them; goes on where an earlier attempt at the same was interrupted.

    Args:
        source: a gun with its simulator.
        events: how many.
        out: `.h5` or `.npz` file to make.
        seed: of every random number.
        words: what the source is, as plain data; an attempt with other words begins anew. Kept in the file.
        chunk: events per seed sequence; another size gives other events.
        progress: called with the number of finished events, also of those that an earlier attempt left.

    Raises:
        ValueError: zero events, or a file that events cannot be written to.
    """
    out = Path(out)
    storage.check_ending(out)
    if events < 1 or chunk < 1:
        raise ValueError(f"a production needs at least one event and one per chunk, not {events} and {chunk}")
    if getattr(source, "whole", False):  # weights are fitted to all events together
        chunk = events
    plan = {"source": dict(words or {}), "seed": seed, "chunk": chunk}
    sizes = [min(chunk, events - first) for first in range(0, events, chunk)]
    files = claim(out, {**plan, "events": events}, len(sizes))
    done = sum(size for size, file in zip(sizes, files, strict=True) if file.exists())
    if progress is not None:
        progress(done)
    try:
        for number, (size, file) in enumerate(zip(sizes, files, strict=True)):
            if file.exists():
                continue
            made = _watched(source, done, progress).generate(size, seeds.generator(seed, "reference", number))
            storage.write(file, made)
            done += size
            if progress is not None:
                progress(done)
    finally:
        if done == 0:  # nothing to go on from
            shutil.rmtree(files[0].parent)
    return join(files, out, source.geometry, plan)


def _watched(source: Any, done: int, progress: Callable[[int], None] | None) -> Any:
    """The source with a slow simulator that tells how far it is inside a chunk, where it can."""
    if progress is None or not hasattr(getattr(source, "simulator", None), "progress"):
        return source
    finished = done

    def more(count: int) -> None:
        nonlocal finished
        finished += count
        progress(finished)

    return replace(source, simulator=replace(source.simulator, progress=more))


def described(entry: Factory, source: Any) -> dict[str, Any]:
    """A source in plain data: the recipe's words without what does not change the events, and its gun as it is."""
    gun = getattr(source, "gun", None)
    words = {k: v for k, v in entry.to_dict().items() if k not in ("processes", "gun")}
    return {**words, "gun": gun.model_dump(mode="json")} if isinstance(gun, BaseModel) else words


def with_energies(source: Any, low: float, high: float) -> Any:
    """The source with a gun of other energies [MeV].

    Raises:
        ValueError: the gun has no range of energies, or cannot have this one.
    """
    gun = getattr(source, "gun", None)
    if not isinstance(gun, BaseModel) or "energy_range" not in type(gun).model_fields:
        raise ValueError("this reference's particle gun has no range of energies; leave out --energies")
    try:
        return replace(source, gun=type(gun).model_validate({**gun.model_dump(), "energy_range": (low, high)}))
    except ValidationError as error:
        raise ValueError(explain(error, "--energies", type(gun))) from None
