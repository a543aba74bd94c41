"""Reading and writing events, chunked both ways: HDF5 in the CaloChallenge layout (`.h5`, `.hdf5`), npz, Parquet and ROOT.

Files of pictures (IDX, CIFAR-10; see `images.py`) are read as well.

`read` and `write` treat whole files, `iterate` and `writer` chunks of them; `reader` gives a file's schema, geometry and
length without its events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.events import Events
from understudy.files import sha256
from understudy.geometry import Calorimeter
from understudy.schema import Schema
from understudy.storage.hdf5 import Hdf5Reader, Hdf5Writer
from understudy.storage.images import ImageReader, image_files, is_images
from understudy.storage.npz import NpzReader, NpzWriter
from understudy.storage.parquet import ParquetReader, ParquetWriter
from understudy.storage.reader import Reader
from understudy.storage.root import RootReader, RootWriter
from understudy.storage.writer import Writer

__all__ = ["Reader", "Writer", "check_ending", "digest", "iterate", "read", "reader", "title", "write", "writer"]

_FORMATS: dict[str, tuple[type[Reader], type[Writer]]] = {
    ".h5": (Hdf5Reader, Hdf5Writer),
    ".hdf5": (Hdf5Reader, Hdf5Writer),
    ".npz": (NpzReader, NpzWriter),
    ".parquet": (ParquetReader, ParquetWriter),
    ".root": (RootReader, RootWriter),
}


def _format(path: str | Path) -> tuple[type[Reader], type[Writer]]:
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        raise ValueError(
            f"{path} is a table of numbers, which is read as a reference of kind 'table' (`understudy info FILE` drafts one), not"
            f" written; events are kept in {', '.join(_FORMATS)}"
        )
    if suffix not in _FORMATS:
        raise ValueError(f"{path} has the ending {suffix!r}, which is no file format for events; use {', '.join(_FORMATS)}")
    return _FORMATS[suffix]


def title(path: str | Path) -> str:
    """What a file of events is called in a report: its name; of a folder or pattern of images that of the first file."""
    return image_files(path)[0].name if is_images(path) else Path(path).name


def digest(path: str | Path) -> str:
    """SHA-256 of a file of events as 64 hexadecimal digits; of the digests of its files where there are several."""
    if not is_images(path) or image_files(path) == [Path(path)]:
        return sha256(path)
    return hashlib.sha256("".join(sha256(part) for part in image_files(path)).encode()).hexdigest()


def check_ending(path: str | Path) -> None:
    """ValueError unless a file's ending is one that events can be written to; ask before long work."""
    _format(path)


def reader(
    path: str | Path,
    schema: Schema | None = None,
    conditions: Sequence[str] | None = None,
    response: bool = True,
) -> Reader:
    """Open a file of events, by its ending; a context manager with `schema`, `geometry`, `provenance`, `read`, `chunks`, `rows`.

    Args:
        path: `.h5`, `.hdf5`, `.npz`, or a `.parquet` or `.root` file that was written here; or IDX images, CIFAR-10 records, a
            folder of either.
        schema: the blocks to read, where the file does not name them or fewer are wanted.
        conditions: names of the conditions to read. By default all that the file's schema names; in a file without a
            schema `incident_energies`, `momentum`, `position`, `true_pt` and `true_eta`, or if there are none of them all
            numeric data sets of the showers' length.
        response: False to read the conditions alone; a file of conditions needs no showers.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown ending, damaged file, missing data set, different lengths, zero events.
    """
    kind = ImageReader if is_images(path) else _format(path)[0]
    return kind(path, schema, conditions, response)


def read(
    path: str | Path,
    schema: Schema | None = None,
    conditions: Sequence[str] | None = None,
    start: int = 0,
    stop: int | None = None,
    response: bool = True,
) -> Events:
    """The events of a file from `start` up to `stop`; arguments and errors as of `reader`.

    Raises:
        ValueError: also where values are NaN, infinite or below their minimum (negative energies).
    """
    with reader(path, schema, conditions, response) as file:
        return file.read(start, stop)


def iterate(
    path: str | Path, chunk: int | None = None, schema: Schema | None = None, conditions: Sequence[str] | None = None
) -> Iterator[Events]:
    """All events of a file in their order, at most `chunk` at a time; arguments and errors as of `read`."""
    with reader(path, schema, conditions) as file:
        yield from file.chunks(chunk)


def writer(
    path: str | Path,
    schema: Schema,
    geometry: Calorimeter | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Writer:
    """A file of events to be filled by `append` inside a `with` block; it appears when the block ends well.

    Args:
        path: `.h5`, `.hdf5`, `.npz`, `.parquet` or `.root`.
        schema: blocks of the events.
        geometry: where the cells of the response sit, kept in the file.
        provenance: how the events were made (plain data), kept in the file.

    Raises:
        ValueError: unknown ending, a block's name that cannot be stored, or showers that do not fit the geometry.
        OSError: full disk, no permission; an earlier file is left as it was.
    """
    return _format(path)[1](path, schema, geometry, provenance)


def write(
    path: str | Path,
    events: Events,
    geometry: Calorimeter | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write events to a file, atomically, and return its path; arguments and errors as of `writer`."""
    with writer(path, events.schema, geometry, provenance) as file:
        file.append(events)
    return Path(path)
