"""Trees of ROOT files, read with uproot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy.extras import extra
from understudy.storage.table import Table, TableColumn, nearest

_KINDS = ("TTree", "TNtuple", "TNtupleD")


class RootTable(Table):
    """A tree; nested branches, fixed arrays, and `vector<...>` or variable-length arrays of numbers."""

    extra = "root"

    def _open(self) -> Mapping[str, TableColumn]:
        uproot = extra("uproot", self.extra, "reading ROOT files")
        with readable(self.path):
            self._file = uproot.open(self.path)
            names = self.trees()
            if (size := self.path.stat().st_size) < self._file.file.fEND:
                raise EOFError(f"it is truncated: {size} bytes of {self._file.file.fEND}")
        if not names:
            raise ValueError(f"{self.path} holds no tree; choose a ROOT file with one")
        if self.tree is None and len(names) > 1:
            raise ValueError(f"{self.path} holds the trees {', '.join(names)}; say which with 'tree'")
        self.tree = self.tree or names[0]
        if self.tree not in names:
            raise ValueError(f"{self.path}: there is no tree {self.tree!r}{nearest(self.tree, names)}")
        with readable(self.path):
            self._tree = self._file[self.tree]
            branches = [b for b in self._tree.itervalues(recursive=True) if not len(b.branches)]
            self._entries = {b.name: b.num_entries for b in branches}
            return {c.name: c for c in map(self._column, branches)}

    def trees(self) -> tuple[str, ...]:
        """Names of the trees of the file."""
        kinds = self._file.classnames(recursive=True, cycle=False)
        return tuple(name for name, kind in kinds.items() if kind in _KINDS)

    def text(self, name: str) -> str | None:
        """A string that lies beside the trees, or None."""
        return str(self._file[name]) if name in self._file.keys(recursive=False, cycle=False) else None

    def _column(self, branch: Any) -> TableColumn:
        uproot = extra("uproot", self.extra, "reading ROOT files")
        name, said, how = self._path(branch), branch.typename, branch.interpretation
        jagged = isinstance(how, uproot.AsJagged)
        inner = how.content if jagged else how
        numeric = type(inner).__name__ == "AsDtype" and inner.to_dtype.names is None and inner.to_dtype.base.kind in "fiub"
        shape = tuple(inner.inner_shape) if numeric else ()
        return TableColumn(name, said, numeric and not (jagged and shape), jagged, shape)

    def _path(self, branch: Any) -> str:
        parts = [branch.name]
        while isinstance(branch.parent, type(branch)):
            branch = branch.parent
            parts.append(branch.name)
        return "/".join(reversed(parts))

    def _length(self) -> int:
        n = int(self._tree.num_entries)
        for name, entries in self._entries.items():
            if entries != n:
                raise ValueError(
                    f"{self.where}: the branch {name!r} has {entries} entries where the tree has {n}; write the tree again,"
                    " filling all branches together"
                )
        return n

    def take(self, names: Sequence[str], start: int, stop: int) -> dict[str, Any]:
        """Columns from row `start` up to `stop`."""
        with readable(self.path):
            return {
                n: self._tree[n].array(entry_start=start, entry_stop=stop, library="ak" if self.columns[n].jagged else "np")
                for n in dict.fromkeys(names)
            }


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """One sentence for whatever uproot says of a file that cannot be read."""
    try:
        yield
    except PermissionError:
        raise PermissionError(f"no permission to read {path}; ask its owner for it") from None
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # uproot raises whatever unpacking foreign bytes leads to
        words = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{path} is damaged or no ROOT file ({words}); copy or write it again") from error
