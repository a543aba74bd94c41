"""One training from its first to its last round: everything that changes, saved and restored together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from understudy import seeds
from understudy.files import write_json
from understudy.models.base import Batch, Model
from understudy.training import checkpoint
from understudy.training.batches import Batches, resident
from understudy.training.history import Losses, Row, Watch, scored
from understudy.training.players import line_up
from understudy.training.settings import TrainingSettings
from understudy.training.weights import MovingAverage, all_finite, shown, snapshot

Score = Callable[[Model], Mapping[str, float]]
_FREE = {"checkpoint_seconds", "device"}
"""Settings that may change between a run and its continuation."""


class Session:
    """The state of a training and what can be done to it; `train` says in which order.

    Args:
        model: on the device of `fabric`.
        data: the whole training split.
        settings: see `TrainingSettings`.
        fabric: device and precision.
        seed: of the batches and of the losses' randomness.
        directory: where `last/` and `history.json` go.
        score: named numbers of the model as it is held; `score` is minimised.
        fingerprint: of the recipe.
        watch: looks on.
    """

    def __init__(
        self,
        model: Model,
        data: Batch,
        settings: TrainingSettings,
        fabric: Fabric,
        *,
        seed: int,
        directory: Path,
        score: Score | None = None,
        fingerprint: str = "",
        watch: Watch | None = None,
    ) -> None:
        data, turns = resident(data, fabric.device), model.turns()
        size = min(settings.batch_size, len(data))
        self.model, self.settings, self.score, self.watch, self.device = model, settings, score, watch, fabric.device
        self.place, self.history_file = directory / "last", directory / "history.json"
        self.rounds_per_epoch = -(-len(data) // (size * max((t.repeats for t in turns), default=1)))
        self.rounds = settings.epochs * self.rounds_per_epoch if turns else 0
        streams = [Batches(data, size, seed, ("batches", number), fabric.device) for number in range(len(turns))]
        self.players = line_up(model, turns, streams, self.rounds)
        self.generator = torch.Generator(fabric.device).manual_seed(seeds.integer(seed, "losses"))
        trained = {id(p): p for turn in turns for p in turn.parameters}
        self.average = MovingAverage(list(trained.values()), settings.ema) if settings.ema is not None and turns else None
        self.losses = Losses([t.name for t in turns])
        self.round, self.rows, self.best, self.scores_since_best = 0, list[Row](), dict[str, Any](), 0
        self.begun_with = {
            "recipe": fingerprint,
            "seed": seed,
            "device": fabric.device.type,
            "training split": [*data.response.shape, *data.conditions.shape[1:]],
            "turns": {
                t.name: {"repeats": t.repeats, "first": t.first, "end": t.end, **t.optimiser.model_dump(mode="json")}
                for t in turns
            },
            **settings.model_dump(mode="json", exclude=_FREE),
        }
        self.out_of_time = False
        self._seconds_before, self._started = 0.0, time.perf_counter()
        self._saved = self._told = time.monotonic()

    @property
    def epoch(self) -> float:
        """Epochs played."""
        return self.round / self.rounds_per_epoch

    @property
    def seconds(self) -> float:
        """Time spent training, over all continuations."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def finished(self) -> bool:
        """Whether nothing is left to play."""
        patience = self.settings.patience
        return self.round >= self.rounds or self.out_of_time or (patience is not None and self.scores_since_best >= patience)

    @property
    def score_is_due(self) -> bool:
        """Whether a row of the history is to be written after this round."""
        ends = self.round >= self.rounds or self.out_of_time
        return ends or self.round % (self.rounds_per_epoch * self.settings.score_every) == 0

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether the last checkpoint is older than `checkpoint_seconds`."""
        return time.monotonic() - self._saved >= self.settings.checkpoint_seconds

    def gather(self) -> None:
        """Fetch the losses now and then and show them; FloatingPointError where one is not finite. Look at the clock as well."""
        minutes = self.settings.minutes
        if minutes is not None:
            self.out_of_time = self.seconds >= 60 * minutes
        now = time.monotonic()
        if self.round % 32 == 0 or now - self._told > 1:
            self._told = now
            self._fetch()

    def _fetch(self) -> None:
        recent = self.losses.fetch()
        if self.watch is not None and recent:
            self.watch.losses(self.round, self.epoch, recent)

    def settle(self) -> None:
        """Fetch the losses and see that they and the weights are finite, else FloatingPointError."""
        self._fetch()
        if not all_finite(self.model):
            raise FloatingPointError(f"a weight became NaN or infinite by round {self.round}")

    def evaluate(self) -> None:
        """Score the shown weights, keep them if they are the best so far, and write a row of the history."""
        parts, is_best = None, False
        if self.score is not None:
            with shown(self.model, self.average), isolated_random_numbers(self.device):
                parts = scored(self.score(self.model))
                value, lowest = parts["score"], self.best.get("score")
                is_best = value is not None and (lowest is None or value < lowest)
                if is_best:
                    self.best = {"score": value, "row": len(self.rows), "weights": snapshot(self.model) if self.players else {}}
            self.scores_since_best = 0 if is_best else self.scores_since_best + 1
        updates = {p.turn.name: p.update for p in self.players}
        row: Row = {"round": self.round, "epoch": self.epoch, "seconds": round(self.seconds, 3), "updates": updates}
        if self.out_of_time:
            row["stopped"] = f"the {self.settings.minutes:g} minutes of 'minutes' are used up"
        self.rows.append({**row, "losses": self.losses.means(), "score": parts, "best": is_best})
        write_json(self.history_file, self.rows)
        if self.watch is not None:
            self.watch.row(self.rows[-1])

    def save(self) -> None:
        """Write the checkpoint."""
        checkpoint.save(self.place, self.state())
        self._saved = time.monotonic()

    def state(self) -> dict[str, Any]:
        """All that the rest of the training depends on."""
        return {
            "begun_with": self.begun_with,
            "round": self.round,
            "seconds": self.seconds,
            "model": dict(self.model.state_dict()),
            "average": [] if self.average is None else self.average.mean,
            "best": self.best,
            "scores_since_best": self.scores_since_best,
            "players": [p.state() for p in self.players],
            "losses": self.losses.state(),
            "rows": self.rows,
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def resume(self) -> bool:
        """Go back to the checkpoint; False if there is none.

        Raises:
            ValueError: the checkpoint is damaged, or was begun with other settings.
        """
        state = checkpoint.load(self.place)
        if state is None:
            return False
        check_same(state["begun_with"], self.begun_with, self.place)
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.restore(state["average"])
        for player, theirs in zip(self.players, state["players"], strict=True):
            player.restore(theirs)
        self.losses.restore(state["losses"])
        self.round, self.rows, self.best = state["round"], state["rows"], state["best"]
        self.scores_since_best, self._seconds_before, self._started = (
            state["scores_since_best"],
            state["seconds"],
            time.perf_counter(),
        )
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
        return True

    def keep_best(self) -> None:
        """Leave the best weights in the model; without a score the averaged or last ones."""
        if self.best and self.best["weights"]:
            self.model.load_state_dict(self.best["weights"])
        elif self.average is not None:
            with torch.no_grad():
                for p, mean in zip(self.average.live, self.average.mean, strict=True):
                    p.copy_(mean)


def isolated_random_numbers(device: torch.device) -> Any:
    """Leave torch's global random numbers (dropout's) after a block as they were before it."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], place: Path) -> None:
    """ValueError naming what differs between an interrupted training and its continuation."""
    now = checkpoint.plain(now)
    changed = [k for k in now if before.get(k) != now[k] and k != "recipe"]
    if not changed and before.get("recipe") == now["recipe"]:
        return
    what = "; ".join(f"{k} was {before.get(k)}, is {now[k]}" for k in changed) or "the recipe is another one"
    raise ValueError(
        f"the training in {place} cannot be resumed because it was begun differently ({what}); undo the change,"
        " or train from the beginning without resuming, in this or another folder"
    )
