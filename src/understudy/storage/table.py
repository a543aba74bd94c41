"""Tables that others made: named columns, one row per track or event, in ROOT, Parquet, CSV or HDF5.

A column holds one number per row, a fixed number of them, or a list (`vector<double>`). It is named by its path: nested branches
by their names with dots or slashes between, `Particles.momentum.x`, of which the last part is enough where it is unique; `[2]`
after it takes the third number of each row.
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

ROWS = 100_000
"""Rows read at a time."""
_INDEX = re.compile(r"^(.*)\[(\d+)\]$")


@dataclass(frozen=True)
class TableColumn:
    """A column: its name, type as the file says it, whether it holds numbers, lists of them, and how many per row if fixed."""

    name: str
    type: str
    numeric: bool = True
    jagged: bool = False
    shape: tuple[int, ...] = ()


class Table(ABC):
    """An open table; a context manager.

    Args:
        path: the file.
        tree: which table of the file, where it holds several.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of another format, without rows, or with several tables of which none is named.
        ModuleNotFoundError: the extra that reads the format is not installed.
    """

    extra: ClassVar[str] = ""

    def __init__(self, path: str | Path, tree: str | None = None) -> None:
        self.path, self.tree = Path(path), tree
        if not self.path.exists():
            raise FileNotFoundError(f"there is no file {path}; check the path")
        if self.path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name a file in it")
        try:
            self.columns: Mapping[str, TableColumn] = self._open()
            self.length = self._length()
        except BaseException:
            self.close()
            raise
        if self.length <= 0 or not self.columns:
            self.close()
            raise ValueError(f"{self.where} holds no rows; choose a file with events")

    @abstractmethod
    def _open(self) -> Mapping[str, TableColumn]:
        """Open the file and say its columns."""

    @abstractmethod
    def _length(self) -> int:
        """Number of rows."""

    @abstractmethod
    def take(self, names: Sequence[str], start: int, stop: int) -> dict[str, Any]:
        """Columns from row `start` up to `stop`, as NumPy arrays, or awkward arrays of lists."""

    def trees(self) -> tuple[str, ...]:
        """Names of the tables in the file; none where a file is one table."""
        return ()

    def close(self) -> None:
        """Close the file."""
        with suppress(AttributeError):
            self._file.close()

    _file: Any

    @property
    def where(self) -> str:
        """The file and the table, for errors."""
        return str(self.path) if self.tree is None else f"{self.path}, tree {self.tree!r}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self.length

    def find(self, path: str) -> tuple[TableColumn, int | None]:
        """The column of a path, and the index in brackets behind it; ValueError, with the nearest name, if there is none."""
        match = _INDEX.match(path) if path not in self.columns else None
        name, index = (match[1], int(match[2])) if match else (path, None)
        found = self.columns.get(name)
        if found is None:
            ends = [c for c in self.columns.values() if name in _aliases(c.name)]
            if len(ends) > 1:
                raise ValueError(f"{self.where}: {name!r} is any of {', '.join(c.name for c in ends)}; give the whole path")
            if not ends:
                raise ValueError(f"{self.where}: there is no branch {name!r}{nearest(name, self.columns)}")
            found = ends[0]
        if not found.numeric:
            raise ValueError(f"{self.where}: the branch {found.name!r} has type {found.type}, which is not made of numbers")
        return found, index


def _aliases(name: str) -> set[str]:
    """What a nested column may also be called: with dots, and by its last part."""
    return {name.replace("/", "."), name.rpartition("/")[2]}


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a sentence that says which names are like `name`, or which there are."""
    called = {alias.lower(): n for n in names for alias in (n, *_aliases(n))}
    close = difflib.get_close_matches(name.lower(), called, n=1)
    if close:
        return f" (did you mean {called[close[0]]!r}?)"
    known = list(names)
    return f"; there are {', '.join(known[:12])}{f' and {len(known) - 12} more' if len(known) > 12 else ''}"
