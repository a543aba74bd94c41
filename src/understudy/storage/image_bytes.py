"""Bytes of plain or gzip-compressed files, counted and read in pieces."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from understudy.storage.reader import opened

PIECE = 2**22
"""Bytes that are looked at together."""
_GZIP = b"\x1f\x8b"


class Bytes:
    """A file's bytes, after decompression where it is compressed (told from its first two bytes, not from its name).

    Args:
        path: the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated or damaged compression.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with opened(path):
            raw = path.open("rb")
        packed = raw.peek(2)[:2] == _GZIP
        self._stream: BinaryIO = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        self._raw = raw

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on, fewer at the end; going back in a compressed file begins it anew."""
        with self._readable():
            self._stream.seek(start)
            return self._stream.read(size)

    def pieces(self, size: int = PIECE) -> Iterator[bytes]:
        """All bytes from the beginning, `size` at a time; at the end a compressed file's checksum has been verified."""
        with self._readable():
            self._stream.seek(0)
            while piece := self._stream.read(size):
                yield piece

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self._raw.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except EOFError:
            raise ValueError(f"{self.path} is cut off in the middle of its compressed data; fetch or copy it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{self.path} is a damaged gzip file ({error}); fetch or copy it again") from None
