"""HDF5 files of events, in the CaloChallenge layout."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from understudy.schema import Array
from understudy.storage.layout import Column, Header
from understudy.storage.reader import Reader, opened
from understudy.storage.writer import Writer

_PREFIX = "understudy_"
_CACHE = 2**26
_LEVEL = 4
"""Of compression."""


class Hdf5Reader(Reader):
    """Events from an HDF5 file."""

    def _columns(self) -> Mapping[str, Column]:
        with readable(self.path):
            self._file = h5py.File(self.path, "r", rdcc_nbytes=_CACHE)
            found: dict[str, Column] = {}

            def note(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    found[name] = Column(tuple(item.shape or ()), item.dtype, dict(item.attrs))

            self._file.visititems(note)
        return found

    def _header(self) -> Header | None:
        with readable(self.path):
            parts = {k.removeprefix(_PREFIX): str(v) for k, v in self._file.attrs.items() if k.startswith(_PREFIX)}
        return Header.from_json(parts, str(self.path)) if parts else None

    def _take(self, name: str, start: int, stop: int) -> Array:
        with readable(self.path):
            values: Array = self._file[name][start:stop]
        return values

    def stored(self, name: str) -> Any:
        """A data set of the open file."""
        return self._file[name]

    def compressed(self, name: str, start: int) -> bytes:
        """The chunk of a data set that begins with row `start`, as it is stored."""
        with readable(self.path):
            found = self._file[name]
            chunk: bytes = found.id.read_direct_chunk((start, *[0] * (found.ndim - 1)))[1]
        return chunk

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_file"):
            self._file.close()


class Hdf5Writer(Writer):
    """Events into an HDF5 file, compressed with gzip.

    Rows of numbers are not byte-shuffled: most cells of a shower are empty, and whole zeros between random digits compress
    better (by a fifth) and almost twice as fast as their bytes apart. They are compressed here, chunk by chunk, so that a
    chunk has the same bytes whether it was made of events or copied from another file.
    """

    _file: Any = None
    _disk: _Disk

    def _open(self, partial: Path) -> None:
        self._names: list[str] = []
        self._disk = _Disk(partial)  # the 1.8 format is the oldest that takes attributes of more than 64 kB
        self._file = h5py.File(self._disk, "w", libver=("v108", "v110"), rdcc_nbytes=_CACHE)

    def _create(self, name: str, shape: tuple[int, ...], dtype: Any, attributes: Mapping[str, str]) -> None:
        created = self._file.create_dataset(
            name,
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=(self._rows if shape else 2**14, *shape),
            dtype=dtype,
            compression="gzip",
            compression_opts=_LEVEL,
            shuffle=not shape,
            track_times=False,
        )
        created.attrs.update(attributes)
        self._names.append(name)
        self._disk.check()

    def _extend(self, name: str, values: Array) -> None:
        stored = self._file[name]
        n, count = len(stored), len(values)
        if stored.ndim > 1 and n % self._rows == 0 and count <= self._rows:
            chunk = np.zeros(stored.chunks, stored.dtype)
            chunk[:count] = values
            self._put(stored, zlib.compress(chunk.data, _LEVEL), count)
            return
        stored.resize(n + count, axis=0)
        stored[n:] = values
        self._disk.check()

    def _put(self, stored: Any, chunk: bytes, count: int) -> None:
        """Append a compressed chunk of `count` rows to a data set that ends with a whole one."""
        n = len(stored)
        stored.resize(n + count, axis=0)
        stored.id.write_direct_chunk((n, *[0] * (stored.ndim - 1)), chunk)
        self._disk.check()

    def append_file(self, source: Reader) -> None:
        """Add all events of an open file; its compressed chunks are copied where they fit, which is many times faster."""
        if not isinstance(source, Hdf5Reader) or not self._fits(source):
            super().append_file(source)
            return
        whole = len(source) - len(source) % self._rows
        for start in range(0, whole, self._rows):
            for name in self._names:
                if self._file[name].ndim > 1:
                    self._put(self._file[name], source.compressed(name, start), self._rows)
                else:
                    self._extend(name, source.stored(name)[start : start + self._rows])
            self._n += self._rows
        if whole < len(source):
            self.append(source.read(whole))

    def _fits(self, source: Hdf5Reader) -> bool:
        """Whether the next chunk begins here, and the file was written here with the same data sets in the same chunks."""
        if not source.own or source.schema != self.schema or self._n % self._rows:
            return False
        self._begin(source.parts)
        plain = all(block.kind != "jagged" for block, _ in self._stored()) and sorted(source.columns) == sorted(self._names)
        return plain and all(_layout(self._file[name]) == _layout(source.stored(name)) for name in self._names)

    def _finish(self, header: Header) -> None:
        for name, text in header.to_json().items():
            self._file.attrs[_PREFIX + name] = text
        self._file.close()
        self._disk.check()
        self._disk.close()

    def _close(self) -> None:
        if self._file:
            self._file.close()
        if hasattr(self, "_disk"):
            with suppress(OSError):
                self._disk.close()


class _Disk(io.RawIOBase):
    """The file below HDF5, which keeps back errors of writing until they are asked for.

    The HDF5 library cannot close a file that it failed to write: it crashes the interpreter at its exit. So a failed
    write is not told to it; everything after it goes nowhere, and `check` raises.
    """

    def __init__(self, path: Path) -> None:
        self._raw = path.open("w+b", buffering=0)
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise the first error of writing, if there was one."""
        if self.error is not None:
            raise self.error

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while self.error is None and done < len(view):
                done += self._raw.write(view[done:]) or 0
        except OSError as error:
            self.error = error
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, with zeros where a failed write left nothing."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (count := self._raw.readinto(view[done:])):
            done += count
        view[done:] = bytes(len(view) - done)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's length."""
        size = self.tell() if size is None else size
        try:
            if self.error is None:
                self._raw.truncate(size)
        except OSError as error:
            self.error = error
        return size

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._raw.tell()

    def close(self) -> None:
        """Close the file."""
        self._raw.close()
        super().close()


def _layout(stored: Any) -> tuple[Any, ...]:
    """What two data sets must share so that chunks of one can be chunks of the other."""
    return stored.shape[1:], stored.dtype, stored.chunks, stored.compression, stored.compression_opts, stored.shuffle


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """One sentence for whatever HDF5 says of a file that cannot be read."""
    try:
        with opened(path):
            yield
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, RuntimeError, KeyError) as error:
        words = str(error)
        if "file signature not found" in words:
            raise ValueError(f"{path} is not an HDF5 file; convert it, or give it the ending of what it is") from error
        what = "is truncated" if "truncated" in words else f"is damaged ({words})"
        raise ValueError(f"{path} {what}; copy or write it again") from error
