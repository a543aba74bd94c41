"""Events in NumPy's npz: a zip archive with one `.npy` member per data set.

Members are read and written as streams, in chunks, and never with pickle. What HDF5 keeps in attributes is one more
member, `understudy`, a string of JSON. Time stamps in the archive are fixed, so equal events give equal bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from understudy.schema import Array
from understudy.storage.layout import Column, Header
from understudy.storage.reader import Reader, opened
from understudy.storage.writer import Writer

_HEADER = "understudy"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PIECE = 2**20


class NpzReader(Reader):
    """Events from an npz file."""

    def _columns(self) -> Mapping[str, Column]:
        with _readable(self.path):
            self._zip = zipfile.ZipFile(self.path)
            names = [n.removesuffix(".npy") for n in self._zip.namelist() if n.endswith(".npy")]
            self._members = {name: _Member(self._zip, f"{name}.npy") for name in names}
        attributes = self._attributes()
        return {name: Column(m.shape, m.dtype, attributes.get(name, {})) for name, m in self._members.items() if name != _HEADER}

    def _text(self) -> dict[str, Any]:
        if _HEADER not in self._members:
            return {}
        member = self._members[_HEADER]
        with _readable(self.path):
            if member.dtype.kind != "U" or member.shape != ():
                raise ValueError(f"its member {_HEADER!r} is no string")
            found: dict[str, Any] = json.loads(str(member.scalar()))
        return found

    def _attributes(self) -> Mapping[str, Mapping[str, Any]]:
        attributes: Mapping[str, Mapping[str, Any]] = self._text().get("attributes", {})
        return attributes

    def _header(self) -> Header | None:
        parts = self._text().get("header")
        return Header.from_json(parts, str(self.path)) if parts else None

    def _take(self, name: str, start: int, stop: int) -> Array:
        with _readable(self.path):
            return self._members[name].take(start, stop)

    def close(self) -> None:
        """Close the file."""
        for member in getattr(self, "_members", {}).values():
            member.close()
        if hasattr(self, "_zip"):
            self._zip.close()


class _Member:
    """One array of the archive, read forwards as a stream."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._name = archive, name
        self._stream: IO[bytes] | None = None
        self._row = 0
        self._open()
        self.close()

    def _open(self) -> IO[bytes]:
        self.close()
        stream = self._archive.open(self._name)
        try:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            self.shape, self._fortran, self.dtype = read(stream)
        except BaseException:
            stream.close()
            raise
        self._stream, self._row = stream, 0
        return stream

    def scalar(self) -> Any:
        """The one value of an array without axes."""
        return np.frombuffer(self._read(self._open(), self.dtype.itemsize), self.dtype)[0]

    def take(self, start: int, stop: int) -> Array:
        """Rows from `start` up to `stop`."""
        if self.dtype.hasobject:
            raise ValueError(f"its member {self._name!r} holds Python objects, which are not read")
        stream = self._stream if self._stream is not None and start >= self._row else self._open()
        if self._fortran and len(self.shape) > 1:
            flat = np.frombuffer(self._read(stream, int(np.prod(self.shape)) * self.dtype.itemsize), self.dtype)
            self.close()
            return flat.reshape(self.shape[::-1]).T[start:stop]
        row = int(np.prod(self.shape[1:], dtype=int)) * self.dtype.itemsize
        skip = (start - self._row) * row
        while skip > 0:
            skip -= len(self._read(stream, min(skip, _PIECE)))
        stop = min(stop, self.shape[0])
        data = self._read(stream, (stop - start) * row)
        self._row = stop
        return np.frombuffer(data, self.dtype).reshape(stop - start, *self.shape[1:])

    def _read(self, stream: IO[bytes], size: int) -> bytes:
        data = stream.read(size)
        if len(data) < size:
            raise EOFError(f"its member {self._name!r} is too short")
        return data

    def close(self) -> None:
        """Let go of the stream."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None


class NpzWriter(Writer):
    """Events into an npz file, compressed.

    The lengths of an archive's members must be known before they are written, so the data sets are first collected in
    nameless temporary files beside the target, which vanish with the process.
    """

    def _open(self, partial: Path) -> None:
        self._partial = partial
        self._files = ExitStack()
        self._spools: dict[str, tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]] = {}
        self._lengths: dict[str, int] = {}
        self._attributes: dict[str, dict[str, str]] = {}

    def _create(self, name: str, shape: tuple[int, ...], dtype: Any, attributes: Mapping[str, str]) -> None:
        spool: IO[bytes] = tempfile.TemporaryFile(dir=self._partial.parent)  # noqa: SIM115
        self._spools[name] = (self._files.enter_context(spool), shape, np.dtype(dtype))
        self._lengths[name] = 0
        self._attributes[name] = dict(attributes)

    def _extend(self, name: str, values: Array) -> None:
        spool, _, dtype = self._spools[name]
        spool.write(np.ascontiguousarray(values, dtype).data)
        self._lengths[name] += len(values)

    def _finish(self, header: Header) -> None:
        text = json.dumps({"header": header.to_json(), "attributes": self._attributes}, sort_keys=True)
        with zipfile.ZipFile(self._partial, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
            for name, (spool, shape, dtype) in self._spools.items():
                with archive.open(_entry(name), "w", force_zip64=True) as member:
                    _start(member, (self._lengths[name], *shape), dtype)
                    spool.seek(0)
                    shutil.copyfileobj(spool, member, _PIECE)
            with archive.open(_entry(_HEADER), "w") as member:
                npy.write_array(member, np.array(text), allow_pickle=False)

    def _close(self) -> None:
        with suppress(OSError):
            self._files.close()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _start(member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    npy.write_array_header_1_0(member, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """One sentence for whatever goes wrong in reading an archive."""
    try:
        with opened(path):
            yield
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a complete npz file ({error}); copy or write it again") from error
