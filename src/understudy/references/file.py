"""Events from a file, as a source like any other."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pydantic import PositiveFloat

from understudy import geometry as geometries
from understudy import storage
from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.plausible import RESPONSE
from understudy.registry import register
from understudy.schema import Schema
from understudy.storage.layout import check_geometry


@register("references", "file")
class File:
    """A source over a file of events.

    Args:
        path: `.h5`, `.hdf5`, `.npz`, or a `.parquet` or `.root` file that was written here; IDX images (labels beside them),
            CIFAR-10 records, or a folder of either.
        geometry: the geometry that the file was made with (a built-in name, or a CaloChallenge XML file), where the file does
            not say it itself.
        conditions: conditions to read; by default those of the file's schema, or what `storage.reader` finds.
        events: read only the first so many.
        expected_response: range that the mean energy in the cells over the incident energy must be near; a file that is a
            thousand times away from it is asked for its units.

    Raises:
        ValueError: when used without a path, when the showers do not fit the geometry, or when there are fewer events
            than asked for; and whatever `storage.read` raises.
    """

    def __init__(
        self,
        path: str | None = None,
        geometry: str | None = None,
        conditions: list[str] | None = None,
        events: int | None = None,
        expected_response: tuple[PositiveFloat, PositiveFloat] = RESPONSE,
    ) -> None:
        if events is not None and events < 1:
            raise ValueError(f"a file cannot give its first {events} events; ask for 1 or more")
        if not expected_response[0] <= expected_response[1]:
            raise ValueError("expected_response goes from {:g} to {:g}; give the lower end first".format(*expected_response))
        self.path = path
        self.expected_response = expected_response
        self._geometry = geometry
        self._conditions = conditions
        self._first = events

    def _reader(self) -> storage.Reader:
        if self.path is None:
            raise ValueError("the reference is a file of events, but none is named; give --data FILE or a path in the recipe")
        file = storage.reader(self.path, conditions=self._conditions)
        if self._first is not None and self._first > len(file):
            file.close()
            raise ValueError(f"{self.path} holds {len(file)} events where the first {self._first} are asked for; ask for fewer")
        return file

    @cached_property
    def _description(self) -> tuple[Schema, Calorimeter | None, int]:
        with self._reader() as file:
            said = None if self._geometry is None else geometries.load(self._geometry)
            geometry = file.geometry or said
            if geometry is not None:
                check_geometry(file.schema, geometry, str(self.path))
            return file.schema, geometry, self._first or len(file)

    @property
    def schema(self) -> Schema:
        """The blocks of the file's events."""
        return self._description[0]

    @property
    def geometry(self) -> Calorimeter | None:
        """Where the cells sit, if the file or the recipe says it."""
        return self._description[1]

    def __len__(self) -> int:
        return self._description[2]

    def events(self) -> Events:
        """All events, in the file's order."""
        n = len(self)
        with self._reader() as file:
            return file.read(0, n)

    def generate(self, n: int, generator: np.random.Generator) -> Events:
        """Draw `n` different events at random, in random order; memory is bounded by them and one chunk of the file."""
        if not 1 <= n <= len(self):
            raise ValueError(
                f"{self.path} cannot give {n} different events: it has {len(self)}; ask for fewer or bring a longer file"
            )
        with self._reader() as file:
            return file.rows(generator.choice(len(self), n, replace=False))
