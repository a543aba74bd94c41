"""Long work in chunks whose results wait beside the output, so that it goes on where it was interrupted.

Finished chunks lie in `.NAME.parts/` beside `NAME`, with a note of what they are chunks of; they are joined, chunk after chunk,
into a file that appears under its own name when it is whole. Chunks of another attempt (another seed, size or simulator)
are thrown away.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy import storage
from understudy.files import make_directory, write_json
from understudy.geometry import Calorimeter


def claim(out: Path, plan: Mapping[str, Any], count: int) -> list[Path]:
    """The files of `count` chunks of `out`, some of them there already if an earlier attempt had the same plan.

    Args:
        out: the file that the chunks will become.
        plan: plain data; what makes two attempts the same.
        count: number of chunks.
    """
    parts = out.with_name(f".{out.name}.parts")
    note = parts / "plan.json"
    if not (note.is_file() and json.loads(note.read_text(encoding="utf-8")) == dict(plan)):
        if parts.exists():
            shutil.rmtree(parts)
        make_directory(parts)
        write_json(note, dict(plan))
    return [parts / f"{number:06d}.h5" for number in range(count)]


def join(files: Sequence[Path], out: Path, geometry: Calorimeter | None, provenance: Mapping[str, Any] | None = None) -> Path:
    """Write the chunks' events into `out`, one chunk at a time, and remove them."""
    with storage.reader(files[0]) as first:
        schema = first.schema
    with storage.writer(out, schema, geometry, provenance) as file:
        for part in files:
            with storage.reader(part) as source:
                file.append_file(source)
    shutil.rmtree(files[0].parent)
    return out
