"""How long and on what a model is trained, as a recipe says it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["32-true", "bf16-mixed"]


class TrainingSettings(BaseModel):
    """Settings of the training loop.

    One *round* plays every turn once, each with its repeats. Every turn draws its batches from its own shuffled passes
    over the training split. One *epoch* is the smallest number of rounds in which the turn with the most repeats has drawn
    every training event: `ceil(n / (batch_size * max(repeats)))`. A flow sees every event once per epoch; so does the critic
    of a WGAN with five critic steps, whose generator takes a fifth as many updates.

    Args:
        epochs: length of the training; the schedules of the optimisers stretch over it.
        batch_size: events per update; at most the training split.
        score_every: epochs between two evaluations of the physics score (and rows of the history).
        patience: stop after this many scores in a row without a new best one; None never stops early.
        checkpoint_seconds: time after which a checkpoint is written, besides those at every score. It cannot change results.
        ema: decay per round of an exponential moving average of the weights, which is then scored and kept in place of
            the last weights; None keeps the weights themselves. Early in training the decay is `(1 + round) / (10 + round)`.
        device: where to train; `auto` takes an accelerator where there is one.
        threads: threads of torch on a CPU; None for one per core. Small networks train fastest on one, and the last bits of
            the weights depend on the number.
        polish: steps of L-BFGS, with all training events, that bring the last linear maps to the optimum at the end (`polish`);
            for models that are trained by their likelihood. None leaves them as they are.
        minutes: stop after the round in which so many minutes have been spent, and say so in the history; None goes on to
            `epochs`. The schedules do not know of it, and a slower machine trains less: such a run is not reproducible.
        precision: `32-true`, or `bf16-mixed` for matrix products in bfloat16.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: PositiveInt = 100
    batch_size: PositiveInt = 128
    score_every: PositiveInt = 5
    patience: PositiveInt | None = None
    checkpoint_seconds: NonNegativeFloat = 60.0
    ema: float | None = Field(default=None, gt=0, lt=1)
    device: Device = "auto"
    threads: PositiveInt | None = None
    polish: PositiveInt | None = None
    minutes: PositiveFloat | None = None
    precision: Precision = "32-true"
