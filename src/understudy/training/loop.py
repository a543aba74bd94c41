"""The training loop: in every round each turn is played, in order, whatever the model.

    for every round:
        for every turn:                    # critic, generator; or flow; or ...
            for every repeat:
                draw a fresh batch, step down the gradient of the turn's loss
        now and then: evaluate the physics score and keep the best weights; save a checkpoint

The loss of an adversarial model does not say how good its events are, so the weights that are kept are chosen by a physics
score of the caller. On a CPU the same seed gives the same weights to the last bit, whether or not the training was
interrupted and resumed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric

from understudy import seeds
from understudy.models.base import Batch, Model
from understudy.threads import threads
from understudy.training.batches import check_data
from understudy.training.history import Row, Watch
from understudy.training.polish import polish
from understudy.training.session import Score, Session, isolated_random_numbers
from understudy.training.settings import TrainingSettings
from understudy.training.signals import Interrupts, TrainingInterrupted

__all__ = ["TrainingInterrupted", "TrainingResult", "TrainingSettings", "train"]


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to; the model itself holds the weights.

    Args:
        rounds: rounds played.
        epochs: epochs played.
        seconds: time spent, over all continuations, with the last fit of the model's constants.
        history: rows of `history.json`.
        best: the row whose weights were kept; None without a score.
        device: where it was trained.
    """

    rounds: int
    epochs: float
    seconds: float
    history: list[Row]
    best: Row | None
    device: str


def train(
    model: Model,
    data: Batch,
    settings: TrainingSettings,
    *,
    seed: int,
    directory: str | Path,
    score: Score | None = None,
    resume: bool = False,
    fingerprint: str = "",
    watch: Watch | None = None,
) -> TrainingResult:
    """Train `model` on `data` and leave the best weights in it, on the device that it came on.

    Writes `directory/last/` (the checkpoint) and `directory/history.json`.

    Args:
        model: its `fit` is called once, then its turns are played; without turns it is only fitted and scored.
        data: the whole training split: transformed response `(n, d)`, features `(n, c)`, weights `(n,)`, row index `(n,)`.
        settings: length, batches, device.
        seed: of all randomness of the training, not negative.
        directory: where the checkpoint and the history go.
        score: called every `score_every` epochs on the model, which then holds the (averaged) weights, on the training
            device and in evaluation mode; gives named numbers, of which `score` is minimised. NaN is never the best.
        resume: continue from the checkpoint in `directory`, if there is one.
        fingerprint: of the recipe; a resumed training must have the same.
        watch: looks on.

    Raises:
        ValueError: the data are empty or not finite, no such device, or the checkpoint is damaged or was begun differently.
        FloatingPointError: a loss became NaN or infinite; names the turn and the round. The model then holds the weights of the
            last checkpoint.
        TrainingInterrupted: SIGINT or SIGTERM arrived; a complete checkpoint was written.
    """
    check_data(data)
    fabric = launch(settings)
    home, was_training = next((p.device for p in model.parameters()), torch.device("cpu")), model.training
    began = time.perf_counter()
    model.fit(data.response, data.conditions, data.weights, data.given)
    fitting = time.perf_counter() - began
    model.to(fabric.device).train()
    with isolated_random_numbers(fabric.device), threads(settings.threads):
        torch.manual_seed(seeds.integer(seed, "dropout"))
        session = Session(
            model, data, settings, fabric, seed=seed, directory=Path(directory), score=score, fingerprint=fingerprint, watch=watch
        )
        if not (resume and session.resume()) and session.players:
            session.save()
        if watch is not None:
            watch.begin(session.rounds, session.round)
        if not session.players and not session.rows:
            session.evaluate()
            session.save()
        _play(session, fabric)
        session.keep_best()
        if settings.polish is not None and session.players:
            model.eval()
            polish(model, data, settings.polish, seeds.integer(seed, "polish") % 2**31)
    model.to(home).train(was_training)
    best = session.rows[session.best["row"]] if session.best else None
    return TrainingResult(session.round, session.epoch, fitting + session.seconds, session.rows, best, str(fabric.device))


def _play(session: Session, fabric: Fabric) -> None:
    """Play the rounds that are left."""
    try:
        with Interrupts() as interrupts:
            while not session.finished:
                play_round(session, fabric)
                if session.score_is_due or session.checkpoint_is_due or interrupts.asked:
                    session.settle()
                    if session.score_is_due:
                        session.evaluate()
                    session.save()
                if interrupts.asked:
                    raise TrainingInterrupted(_how_to_go_on(session))
    except FloatingPointError as error:
        session.resume()
        raise FloatingPointError(_how_to_mend(session, error)) from error


def play_round(session: Session, fabric: Fabric) -> None:
    """Play every turn of this round once."""
    for player in session.players:
        if not player.turn.played(session.round):
            continue
        session.losses.add(player.turn.name, session.round + 1, player.play(fabric, session.generator))
    if session.average is not None:
        session.average.update(session.round)
    session.round += 1
    session.gather()


def launch(settings: TrainingSettings) -> Fabric:
    """The device and precision; ValueError if there is no such device."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for but torch finds no CUDA device here; use 'auto' or 'cpu'")
    logger = logging.getLogger("lightning_fabric.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        fabric = Fabric(accelerator=settings.device, devices=1, precision=settings.precision)
    finally:
        logger.setLevel(level)
    return fabric


def _how_to_go_on(session: Session) -> str:
    return (
        f"training was interrupted after round {session.round:,} of {session.rounds:,} (epoch {session.epoch:.1f});"
        f" the checkpoint {session.place} is complete: give the same command with --resume to go on (from Python: resume=True)"
    )


def _how_to_mend(session: Session, error: Exception) -> str:
    return (
        f"{error}; the model was put back to its last good checkpoint, round {session.round:,} (epoch {session.epoch:.1f}) in"
        f" {session.place}; lower the learning rate or set clip_norm of that turn's optimiser"
    )
