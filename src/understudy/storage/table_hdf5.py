"""HDF5 files as tables: data sets of one length, and the fields of compound ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from understudy.storage.hdf5 import readable
from understudy.storage.table import Table, TableColumn


class Hdf5Table(Table):
    """The data sets of one length below a group (`tree`, the whole file if None), the length that most of them have."""

    def _open(self) -> Mapping[str, TableColumn]:
        found: dict[str, TableColumn] = {}
        self._rows: dict[str, int] = {}

        def note(name: str, item: Any) -> None:
            if not isinstance(item, h5py.Dataset) or not item.shape:
                return
            fields = [(f"{name}.{f}", t[0]) for f, t in item.dtype.fields.items()] if item.dtype.fields else [(name, item.dtype)]
            for full, kind in fields:
                shape = (*item.shape[1:], *kind.shape)
                found[full] = TableColumn(full, str(kind.base), kind.base.kind in "fiub", False, shape)
                self._rows[full] = item.shape[0]

        with readable(self.path):
            self._file = h5py.File(self.path, "r")
            if self.tree is not None and self.tree not in self._file:
                raise ValueError(f"{self.path}: there is no group or data set {self.tree!r}; there are {', '.join(self._file)}")
            place = self._file if self.tree is None else self._file[self.tree]
            if isinstance(place, h5py.Dataset):
                note(self.tree or "", place)
                place = None
            if place is not None:
                place.visititems(lambda name, item: note(name if self.tree is None else f"{self.tree}/{name}", item))
        return found

    def _length(self) -> int:
        lengths = Counter(self._rows[name] for name, column in self.columns.items() if column.numeric)
        n = max(lengths, key=lambda k: (lengths[k], k), default=0)
        self.columns = {name: column for name, column in self.columns.items() if self._rows[name] == n}
        return n

    def take(self, names: Sequence[str], start: int, stop: int) -> dict[str, Any]:
        """Columns from row `start` up to `stop`."""
        with readable(self.path):
            return {name: self._one(name, start, stop) for name in dict.fromkeys(names)}

    def _one(self, name: str, start: int, stop: int) -> Any:
        if name in self._file:
            return np.asarray(self._file[name][start:stop])
        data_set, _, field = name.rpartition(".")
        return np.asarray(self._file[data_set][start:stop][field])
