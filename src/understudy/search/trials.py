"""The trials of a search: asked of the study one by one, watched while they are trained, told to it when they end.

Only the search itself speaks with the study; its processes know nothing of it. A trial whose search was killed is still
running as far as the study knows: the same search takes it up again from its checkpoint. One of another machine that has not
been heard of for a long time is given up and put into the queue anew.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from understudy.cli_errors import sentence
from understudy.rundir import read_json
from understudy.scan.processes import OUTSIDE, Job, failure, history
from understudy.scan.worker import RESULT
from understudy.search.plan import Plan
from understudy.search.sampling import draw

MODULE = "understudy.search.worker"
BEAT = 60.0
"""Seconds between two signs of life of a trial."""
LOST = 30 * BEAT
"""Seconds without one after which a trial of another machine is given up."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass
class Progress:
    """One trial that is being trained.

    Args:
        trial: of the study.
        epoch: of the last score that the study was told.
        beat: when it gave the last sign of life.
        verdict: `pruned` or `lost` once it need not go on.
    """

    trial: optuna.Trial
    epoch: int = -1
    beat: float = 0.0
    verdict: str = ""


@dataclass
class Trials:
    """Jobs for `run_all`, and who watches them.

    Args:
        study: where trials come from.
        plan: what they are trials of.
        folder: of the search.
        digest: of the reference events.
        total: trials that the study is to have.
        running: by their folder, those that are being trained here.
        ended_here: how many have been.
    """

    study: optuna.Study
    plan: Plan
    folder: Path
    digest: str
    total: int
    running: dict[Path, Progress] = field(default_factory=dict)
    ended_here: int = 0

    @property
    def place(self) -> str:
        """Who this search is among those that share the study."""
        return f"{socket.gethostname()}:{self.folder.resolve()}"

    def prepare_queue(self) -> None:
        """Begin a new study with the recipe as it is; queue again what was killed."""
        trials = self.study.get_trials(deepcopy=False)
        if not trials and (own := self.plan.of_the_base()) is not None:
            self.study.enqueue_trial(own, user_attrs={"base": True})
        again = _again(trials)
        for trial in trials:
            if trial.user_attrs.get("error") == OUTSIDE and trial.number not in again:
                self._queue_again(trial)

    def made(self) -> int:
        """Trials that have begun, without those that were queued again."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(t.state != TrialState.WAITING for t in trials) - len(_again(trials))

    def finished(self) -> int:
        """Trials that have ended, whatever came of them."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(t.state.is_finished() for t in trials) - len(_again(trials))

    def jobs(self) -> Iterator[Job]:
        """Trials of an earlier call that were interrupted, then those of the queue and new ones."""
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("place") == self.place:
                last = max(trial.intermediate_values, default=-1)
                job = self._job(optuna.Trial(self.study, trial._trial_id), last, anew=False)
                if job is not None:
                    yield job
        while self._waiting() or self.made() < self.total:
            if (job := self._job(self.study.ask(), -1, anew=True)) is not None:
                yield job

    def goes_on(self, job: Job) -> bool:
        """Tell the study the scores so far; whether it finds the trial promising."""
        progress = self.running[job.folder]
        try:
            self._beat(progress)
            for row in history(job.folder):
                epoch, score = round(row["epoch"]), (row["score"] or {}).get("score")
                if score is None or epoch <= progress.epoch:
                    continue
                progress.trial.report(score, epoch)
                progress.epoch = epoch
                if epoch < job.epochs and progress.trial.should_prune():
                    progress.verdict = "pruned"
                    return False
        except RuntimeError:  # another machine has given it up
            progress.verdict = "lost"
            return False
        return True

    def ended(self, job: Job) -> None:
        """Tell the study what came of a trial."""
        progress = self.running.pop(job.folder)
        self.ended_here += 1
        trial = progress.trial
        with suppress(RuntimeError):
            if progress.verdict == "pruned":
                trial.set_user_attr("minutes", history(job.folder)[-1]["seconds"] / 60)
                self.study.tell(trial, state=TrialState.PRUNED)
            elif progress.verdict != "lost":
                self._tell(trial, job)
        shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)

    def _tell(self, trial: optuna.Trial, job: Job) -> None:
        found = read_json(job.folder / RESULT) if (job.folder / RESULT).is_file() else {}
        value = found.get("score", {}).get("score")
        if value is None:
            trial.set_user_attr("error", failure(job.folder) or "its score is not a number")
            self.study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_user_attr("score", found["score"])
        trial.set_user_attr("training", found["training"])
        trial.set_user_attr("minutes", found["training"]["minutes"])
        self.study.tell(trial, value)

    def _job(self, trial: optuna.Trial, epoch: int, *, anew: bool) -> Job | None:
        """The work of a trial; None where there is none to do."""
        drawn = draw(trial, self.plan.space)
        trial.set_user_attr("place", self.place)
        try:
            recipe = self.plan.recipe(drawn)
        except ValueError as error:
            trial.set_user_attr("error", sentence(error))
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        if anew and self._known(trial):
            return None
        folder = self.folder / "trials" / f"{trial.number:04d}"
        if anew:
            shutil.rmtree(folder, ignore_errors=True)
        self.running[folder] = Progress(trial, epoch)
        words: dict[str, Any] = {
            "base": self.plan.base.to_dict(),
            "reference": str(self.folder / "reference"),
            "folder": str(folder),
            "recipe": recipe.to_dict(),
            "key": hashlib.sha256(f"{recipe.fingerprint} {self.digest}".encode()).hexdigest(),
        }
        return Job(folder, words, recipe.stages[-1].training.epochs, MODULE)

    def _known(self, trial: optuna.Trial) -> bool:
        """Whether the same was drawn before: same recipe, same seed, same result."""
        for other in self.study.get_trials(deepcopy=False, states=FINISHED):
            if other.params != trial.params:
                continue
            for epoch, score in other.intermediate_values.items():
                trial.report(score, epoch)
            for key in ("score", "training"):
                if key in other.user_attrs:
                    trial.set_user_attr(key, other.user_attrs[key])
            trial.set_user_attr("same_as", other.number)
            if other.state == TrialState.COMPLETE:
                self.study.tell(trial, other.value)
            else:
                self.study.tell(trial, state=TrialState.PRUNED)
            return True
        return False

    def _beat(self, progress: Progress) -> None:
        if time.monotonic() - progress.beat > BEAT:
            progress.beat = time.monotonic()
            progress.trial.set_user_attr("seen", time.time())

    def _waiting(self) -> bool:
        """Whether a trial is in the queue, once those are there that other machines have not been heard of for long."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _is_lost(trial, self.place):
                with suppress(RuntimeError, ValueError):  # someone else was faster
                    self.study.tell(trial.number, state=TrialState.FAIL)
                    self._queue_again(trial)
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def _queue_again(self, trial: FrozenTrial) -> None:
        base = {"base": True} if trial.user_attrs.get("base") else {}
        self.study.enqueue_trial(trial.params, user_attrs={"again": trial.number, **base})


def _again(trials: list[FrozenTrial]) -> set[int]:
    """Numbers of trials that were queued again."""
    return {t.user_attrs["again"] for t in trials if "again" in t.user_attrs}


def _is_lost(trial: FrozenTrial, place: str) -> bool:
    if trial.user_attrs.get("place") == place:
        return False
    began = trial.datetime_start or datetime.now()
    return time.time() - float(trial.user_attrs.get("seen", began.timestamp())) > LOST
