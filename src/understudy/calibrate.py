"""Fit a trained stage's calibrations: each on the output of those before it, in the stage's own frame.

Events are generated at the conditions of the training and of the validation split, derived ones at their true values, with
one noise that depends on the seed alone; so a resumed run fits the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor

from understudy import seeds
from understudy.build import learned_from, target_of
from understudy.calibrations.base import Calibration, Pair
from understudy.events import Events
from understudy.splits import Data
from understudy.surrogate import Stage, as_tensors
from understudy.training.history import Watch
from understudy.transforms.base import Tensors

ROWS = 2000
"""Events generated together."""


def calibrate(
    stage: Stage,
    data: Data,
    watching: Callable[[int], AbstractContextManager[Watch]],
    *,
    seed: int,
    directory: Path,
    resume: bool = False,
    fingerprint: str = "",
) -> float:
    """Fit the calibrations of `stage` in order.

    Args:
        stage: its model is trained.
        data: training and validation splits are used.
        watching: who looks on at the fit of a calibration, by its number (from 0).
        seed: of the noise and of the fits.
        directory: each calibration keeps its checkpoint in a folder of its own in it.
        resume: continue from the checkpoints.
        fingerprint: of the recipe.

    Returns:
        Seconds that it took.
    """
    if not stage.calibrations:
        return 0.0
    began = time.perf_counter()
    training = _pair(stage, data.train, seeds.integer(seed, "noise", "train"))
    validation = _pair(stage, data.validation, seeds.integer(seed, "noise", "validation"))
    seconds = time.perf_counter() - began
    for number, calibration in enumerate(stage.calibrations):
        if not isinstance(calibration, Calibration):
            raise TypeError(f"a stage's calibrations are Calibrations, not {type(calibration).__name__}")
        with watching(number) as watch:
            result = calibration.fit(
                training,
                validation,
                seed=seeds.integer(seed, "fit", number),
                directory=directory / f"calibration-{number}",
                resume=resume,
                fingerprint=fingerprint,
                watch=watch,
            )
        began = time.perf_counter()
        training, validation = (_after(stage, calibration, pair) for pair in (training, validation))
        seconds += result.seconds + time.perf_counter() - began
    return seconds


def _pair(stage: Stage, events: Events, seed: int) -> Pair:
    """Reference events and those that the stage generates, uncalibrated, at the same conditions."""
    events = learned_from(stage, events)
    conditions = as_tensors({k: v for k, v in events.conditions.items() if k != stage.produces})
    weights = None if events.weights is None else torch.tensor(events.weights)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        element, seen = stage.canonical(conditions)
        reference, features = stage.turned(target_of(stage, events), element), stage.encoder(seen)
        noise = torch.randn(len(events), stage.model.noise_size, generator=generator)

        def piece(rows: slice) -> Tensor:
            known = _rows(seen, rows)
            return stage.project(stage.physical(stage.model.sample(noise[rows], features[rows]), known), known)

        generated = _in_pieces(piece, len(events))
    return Pair(reference, generated, features, seen, None if weights is None else (weights / weights.mean()).float())


def _after(stage: Stage, calibration: Calibration, pair: Pair) -> Pair:
    """The pair with its generated events calibrated and projected."""

    def piece(rows: slice) -> Tensor:
        known = _rows(pair.conditions, rows)
        return stage.project(calibration(pair.generated[rows], pair.features[rows], known), known)

    with torch.no_grad():
        generated = _in_pieces(piece, len(pair.generated))
    return Pair(pair.reference, generated, pair.features, pair.conditions, pair.weights)


def _rows(conditions: Tensors, rows: slice) -> Tensors:
    return {name: values[rows] for name, values in conditions.items()}


def _in_pieces(piece: Callable[[slice], Tensor], n: int) -> Tensor:
    return torch.cat([piece(slice(start, start + ROWS)) for start in range(0, n, ROWS)])
