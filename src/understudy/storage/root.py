"""ROOT files of events: one tree, and what it holds as a string beside it.

ROOT files carry the time of their making, so equal events do not give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from understudy.extras import extra
from understudy.storage.layout import Header
from understudy.storage.rows import HEADER, RowsReader, RowsWriter
from understudy.storage.table_root import RootTable, readable

TREE = "events"
"""Name of the tree in files that are written here."""


class RootReader(RowsReader):
    """Events from a ROOT file."""

    table = RootTable

    def _header(self) -> Header | None:
        assert isinstance(self._table, RootTable)
        with readable(self.path):
            said = self._table.text(HEADER)
        return None if said is None else Header.from_json(json.loads(said), str(self.path))


class RootWriter(RowsWriter):
    """Events into a ROOT file."""

    _file: Any = None
    _tree: Any = None

    def _open(self, partial: Path) -> None:
        uproot = extra("uproot", "root", "writing ROOT files")
        self._file = uproot.recreate(partial)

    def _write(self, rows: Mapping[str, Any]) -> None:
        if self._tree is None:
            types = {n: (v.dtype, v.shape[1:]) if isinstance(v, np.ndarray) else v.type for n, v in rows.items()}
            self._tree = self._file.mktree(TREE, types, counter_name=lambda name: f"{name}_number")
        self._tree.extend(dict(rows))

    def _finish(self, header: Header) -> None:
        self._file[HEADER] = json.dumps(header.to_json(), sort_keys=True)
        self._file.close()

    def _close(self) -> None:
        with suppress(Exception):
            if self._file is not None:
                self._file.close()
