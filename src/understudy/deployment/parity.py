"""Does the exported graph give what torch gives?

Before thresholds every number must agree within `TOLERANCE`, relative or absolute; the components of a vector, which are
rounded with its length, relative to that. Transforms that are steep (a power, an exponential) make much of the last bits of
what the network gives; there the tolerance holds for the network's numbers instead, and for what becomes of them. Rounding
goes up and down: so that nothing else passes for it, the differences of all events together must be small as well, by their
absolute values (`TOGETHER`) and, up to `TOLERANCE`, in their sum. After thresholds, a cell may have fallen to the other side of
a cut only if it lies within the tolerance of it: such flips are counted, any other difference is an error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.deployment.runtime import Session
from understudy.events import Events
from understudy.schema import Array, Schema
from understudy.surrogate import Stage, Surrogate, as_tensors
from understudy.transforms.base import Tensors

TOLERANCE = 1e-5
CHANCES = 1e-4
"""What probabilities of detection may differ by, absolute: logits of a few tens are rounded in their sixth digit, which moves
probabilities by some 1e-5; an efficiency is asked to be right within 5e-3."""
NOISE_STEP = 3e-6
"""An engine's rounding may be that of noise which is larger or smaller by this part; some tens of float32's resolution."""
DRAWN_STEP = 5e-5
"""Relative rounding of a condition that a stage before has drawn, from features that may be far outside."""
DIRECTIONS = 8
"""Times that numbers are moved at random, which tells how far rounding moves what calibrations make of them."""
WAYS = 3
"""Times that the noise of a steep model is moved at random."""
DEVIATIONS = 5.0
"""So many standard deviations of that are allowed: some ten million numbers are compared."""
LEFT_OUT = 0.002
"""Part of the events, those that differ most, that do not count among all together."""
TOGETHER = 1e-4
"""The sum of all absolute differences may be this part of the sum of all numbers."""


class ParityError(RuntimeError):
    """The exported graph does not give what torch gives."""


@dataclass(frozen=True)
class Parity:
    """Agreement of a graph with torch over `events` events: the largest difference and the number of flipped cells."""

    events: int
    largest_difference: float
    flipped_cells: int
    tolerance: float = TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self)


def check_parity(surrogate: Surrogate, session: Session, conditions: Events, generator: np.random.Generator) -> Parity:
    """Run the same noise and conditions through torch and through the graph.

    Args:
        surrogate: the torch chain.
        session: its exported graph.
        conditions: events whose given conditions are used.
        generator: source of the noise.

    Raises:
        ParityError: a number differs by more than the tolerance.
    """
    noise = generator.standard_normal((len(conditions), surrogate.noise_size), dtype=np.float32)
    given = {b.name: conditions.conditions[b.name] for b in surrogate.schema.given}
    with torch.inference_mode():
        surrogate.eval()
        tensors = as_tensors(given)
        before = surrogate.before_projections(torch.from_numpy(noise), tensors).numpy()
        rounding = _rounding(surrogate, torch.from_numpy(noise), tensors)
        after = surrogate(torch.from_numpy(noise), tensors).numpy()
    exported_after, exported_before = session.run(noise, given)
    plain = _scale(surrogate.schema, before)
    scale = np.maximum(plain, rounding / TOLERANCE)
    largest = float((np.abs(exported_before - before) / scale).max())
    if not np.isfinite(exported_before).all() or largest > TOLERANCE:
        raise ParityError(
            f"the exported graph differs from torch by {largest:.2g}, more than {TOLERANCE:g} (relative or absolute)"
        )
    _check_together(before, exported_before)
    flips = _check_detection(surrogate, session, noise, given)
    with torch.inference_mode():  # the same projection of the graph's own numbers: what is left is rounding at a cut
        explained = surrogate.last.project(torch.from_numpy(exported_before), tensors).numpy()
    if not (np.abs(explained - exported_after) <= TOLERANCE * (1.0 + plain)).all():
        raise ParityError("the exported graph projects its response otherwise than torch does")
    apart = np.abs(exported_after - after) > TOLERANCE * scale
    return Parity(len(conditions), largest, int(apart.sum()) + flips)


def _check_detection(surrogate: Surrogate, session: Session, noise: Array, given: dict[str, Any]) -> int:
    """Events that torch detects and the graph does not, or the other way round: they have to lie at the edge by rounding.

    Raises:
        ParityError: probabilities differ by more than the tolerance, or more events than a probability off by it would move.
    """
    if surrogate.detection is None:
        return 0
    with torch.inference_mode():
        chances, seen = (x.numpy() for x in surrogate.detected(torch.from_numpy(noise), as_tensors(given)))
    probability, detected = session.probability(noise, given)
    worst, flips = float(np.abs(probability - chances).max()), int((detected != seen).sum())
    if not np.isfinite(probability).all() or worst > CHANCES or flips > 1 + len(noise) * 10 * TOLERANCE:
        raise ParityError(
            f"the exported graph detects otherwise than torch: probabilities differ by {worst:.2g} (allowed is {CHANCES:g}), and"
            f" {flips} of {len(noise)} events; train it longer, or keep to the torch surrogate"
        )
    return flips


def _check_together(before: Array, exported: Array) -> None:
    """ParityError where the differences of all events `(n, d)` are together more than rounding would make.

    All but `LEFT_OUT` of them: where a calibration was asked for what no tilt can reach, rounding may decide where it ends.
    """
    difference = exported.astype(np.float64) - before
    kept = np.argsort(np.abs(difference).sum(1))[: len(before) - int(LEFT_OUT * len(before))]
    difference, before = difference[kept], before[kept]
    whole, least = float(np.abs(before).sum(dtype=np.float64)), TOLERANCE * before.size
    for found, tolerance, what in (
        (float(np.abs(difference).sum()), TOGETHER, "the absolute differences"),
        (abs(float(difference.sum())), TOLERANCE, "the differences"),
    ):
        if found > tolerance * whole + least:
            raise ParityError(
                f"the exported graph differs from torch: {what} sum up to {found / whole if whole else found:.2g} of the"
                f" response, more than {tolerance:g}"
            )


def _rounding(surrogate: Surrogate, noise: Tensor, conditions: Tensors) -> Array:
    """How far the response moves, `(n, d)`, when what it comes from moves by rounding.

    Each number of the last model moves by the tolerance, relative to itself or to its root mean square over the events: the
    rounding of a sum goes with its terms. Deep convolutions, sums of sums of thousands of terms, say how much more they need
    (`rounding`). What calibrations make of rounding is in `_shaken`. Conditions that stages before have drawn move by
    `DRAWN_STEP`, and by what noise makes of them that moves by `NOISE_STEP`: such a stage can be steep.
    """
    here = surrogate.before_projections(noise, conditions)
    stage, rest, known = surrogate.until_last(noise, conditions)
    element, seen = stage.canonical(known)
    features = stage.encoder(seen)
    drawn = stage.model.sample(rest, features)
    allowed = max(float(getattr(module, "rounding", TOLERANCE)) for module in stage.model.modules())
    step = allowed * torch.maximum(drawn.abs(), drawn.square().mean(0, keepdim=True).sqrt())
    physical = [stage.physical(drawn + sign * step, seen) for sign in (1.0, -1.0)]
    moved = [stage.restored(stage.calibrated(values, features, seen), element) for values in physical]
    if len(surrogate.stages) > 1:
        for sign in (1.0, -1.0):
            moved.append(surrogate.before_projections((1.0 + sign * NOISE_STEP) * noise, conditions))
            other = {k: v if k in conditions else (1.0 + sign * DRAWN_STEP) * v for k, v in known.items()}
            moved.append(stage.before_projections(rest, other))
    elif any(getattr(module, "steep", False) for module in stage.model.modules()):
        moved += [surrogate.before_projections(way, conditions) for way in _shaken_noise(noise, allowed)]
    farthest = torch.stack([(values - here).abs() for values in moved]).amax(0)
    if len(stage.calibrations):
        farthest = torch.maximum(farthest, _shaken(stage, drawn, step, features, seen, element))
    found: Array = farthest.numpy()
    return found


def _shaken_noise(noise: Tensor, step: float) -> list[Tensor]:
    """The noise moved by `step`, relative or absolute, each number up or down at random: for models that are `steep`.

    Rounding inside them moves a sample as noise does that is a little larger or smaller, and moves other numbers with it.
    """
    rng = torch.Generator().manual_seed(0)
    return [noise + step * noise.abs().clamp(min=1.0) * _signs(noise, rng) for _ in range(WAYS)]


def _shaken(stage: Stage, drawn: Tensor, step: Tensor, features: Tensor, seen: Tensors, element: Tensor | None) -> Tensor:
    """How far calibrated responses move, `(n, d)`, when numbers move up or down at random: `DEVIATIONS` standard deviations.

    Calibrations answer to the shape of a shower, which moves little where all numbers go the same way. What the model has drawn
    moves by `step` `(n, d)`; the responses and the features `(n, c)` that calibrations take move by `NOISE_STEP`.
    """
    plain, rng = stage.physical(drawn, seen), torch.Generator().manual_seed(0)
    here, squares = stage.calibrated(plain, features, seen), torch.zeros_like(plain)
    for _ in range(DIRECTIONS):
        up, way, along = (_signs(values, rng) for values in (drawn, plain, features))
        for values, told in (
            (stage.physical(drawn + step * up, seen), features),
            (plain * (1.0 + NOISE_STEP * way), features),
            (plain, features + NOISE_STEP * along * (1.0 + features.abs())),
        ):
            squares += (stage.calibrated(values, told, seen) - here).square() / DIRECTIONS
    return stage.restored(DEVIATIONS * squares.sqrt(), element)


def _signs(values: Tensor, rng: torch.Generator) -> Tensor:
    """One or minus one at random, of the shape of `values`."""
    return 2.0 * torch.randint(2, values.shape, generator=rng).to(values) - 1.0


def _scale(schema: Schema, packed: Array) -> Array:
    """What a difference of each number of a packed response is measured against, `(n, d)`, at least 1."""
    scale = np.abs(packed)
    start = 0
    for block in schema.response:
        columns = slice(start, start + block.width)
        if block.columns and len(block.shape) == 1:
            scale[:, columns] = np.linalg.norm(packed[:, columns], axis=1, keepdims=True)
        start += block.width
    return np.maximum(scale, 1.0)
