"""From the tracks of an event to one image: a stand-in of single tracks, asked for each of them, summed and capped.

The first half of a two-step simulation (LHCb HCAL thesis, "calorimeter image refinement"): the images that a needed run makes of
an event's tracks are added, pixel by pixel, no pixel above what the read-out can report. The sum takes the tracks' place among
the conditions, and the run's own model refines it to the response of the whole event: tracks that leave no signal are to be taken
away, neutral particles to be added.

A recipe says it by

    needs: {stp: {recipe: lhcb-hcal-stp, own_events: true}}
    propagate: {need: stp}
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from understudy import hcal_geometry as hcal
from understudy import seeds
from understudy.domain import OutOfDomainWarning
from understudy.events import Events
from understudy.schema import Array, Schema
from understudy.surrogate import Surrogate

TOGETHER = 128
"""Events whose tracks are propagated together."""


class Propagate(BaseModel):
    """What a recipe says: the `need` that makes an image of one track, and the condition that lists the `tracks`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    need: str
    tracks: str = hcal.TRACKS.name


@dataclass(frozen=True)
class Propagation:
    """Replaces the tracks of events by the sum of their images; they stay among the auxiliary blocks, unseen by models.

    Args:
        words: what the recipe says.
        load: the trained stand-in of single tracks; called when it is first needed.
        seed: of the run.
    """

    words: Propagate
    load: Callable[[], Surrogate]
    seed: int

    def schema(self, schema: Schema) -> Schema:
        """The schema of propagated events.

        Raises:
            ValueError: the events have no such tracks.
        """
        known = {b.name: b for b in schema.conditions}
        tracks = known.get(self.words.tracks)
        if tracks is None or tracks.kind != "jagged" or tracks.shape != hcal.TRACKS.shape:
            raise ValueError(
                f"'propagate' makes images of lists of tracks (x, y, et), but {self.words.tracks!r} is no such condition; these"
                f" events have {', '.join(known) or 'none'}"
            )
        aux = (*(b for b in schema.aux if b.name != tracks.name), tracks)
        return replace(schema, conditions=tuple(hcal.STP_IMAGE if b is tracks else b for b in schema.conditions), aux=aux)

    def __call__(self, events: Events, sample: str) -> Events:
        """Events with `stp_image` in place of their tracks; each `sample` has noise of its own."""
        schema = self.schema(events.schema)
        rng = seeds.generator(self.seed, "propagation", sample)
        name = self.words.tracks
        tracks = events.conditions[name]
        conditions = {key: v for key, v in events.conditions.items() if key != name}
        conditions[hcal.STP_IMAGE.name] = summed_images(self.load(), tracks, rng)
        return replace(events, schema=schema, conditions=conditions, aux={**events.aux, name: tracks})


def summed_images(surrogate: Surrogate, tracks: Any, rng: np.random.Generator) -> Array:
    """The sum of the images of each event's tracks, capped, float32 `(n, 52, 64)` [MeV].

    Tracks beyond those that the stand-in was trained on are propagated all the same.

    Args:
        surrogate: from `position` and `et` of a track to the pixels; a torch surrogate or an ONNX one.
        tracks: awkward array of `n` lists of tracks (x, y, et).
        rng: source of the noise.

    Raises:
        ValueError: a track that misses the calorimeter, or a stand-in of something else.
    """
    check_propagator(surrogate)
    counts, items = hcal.flat_tracks(tracks)
    hcal.check_tracks(items, counts)
    first = np.concatenate([[0], np.cumsum(counts)])
    image = np.zeros((len(counts), hcal.N_PIXELS), np.float32)
    with faster(surrogate), warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        for start in range(0, len(counts), TOGETHER):
            stop = min(start + TOGETHER, len(counts))
            part = items[first[start] : first[stop]]
            if not len(part):
                continue
            made = surrogate.simulate(by_track(part), rng).packed()
            event = start + np.flatnonzero(counts[start:stop])
            image[event] = np.add.reduceat(made, first[event] - first[start], axis=0)
    return np.minimum(image.reshape(-1, *hcal.SHAPE), hcal.pixel_caps())


def by_track(items: Array) -> dict[str, Array]:
    """Tracks `(t, 3)` as the conditions of a stand-in of single tracks."""
    return {"position": items[:, :2].astype(np.float32), "et": items[:, 2].astype(np.float32)}


def check_propagator(surrogate: Any) -> None:
    """ValueError unless a stand-in makes an image of `position` and `et`."""
    given = sorted(b.name for b in surrogate.schema.given)
    if given != ["et", "position"] or surrogate.schema.response_width != hcal.N_PIXELS:
        raise ValueError(
            f"tracks are propagated by a stand-in from position and et to {hcal.N_PIXELS} pixels, but the needed one goes from"
            f" {', '.join(given)} to {surrogate.schema.response_width} numbers; name a run of lhcb-hcal-stp"
        )


@contextmanager
def faster(surrogate: Any) -> Iterator[None]:
    """Within it, a torch surrogate works on an accelerator, where there is one."""
    moves = isinstance(surrogate, Surrogate) and torch.cuda.is_available() and next(surrogate.parameters(), None) is not None
    if moves:
        surrogate.to("cuda")
    try:
        yield
    finally:
        if moves:
            surrogate.to("cpu")
