"""An interrupted training that is resumed ends with the weights of an uninterrupted one, to the last bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from understudy.training.checkpoint import load
from understudy.training.loop import TrainingInterrupted, TrainingSettings


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """The uninterrupted training."""
    return toy.train_toy(tmp_path_factory.mktemp("whole"))


def without_times(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def assert_same(resumed, whole):
    (model, result), (expected_model, expected) = resumed, whole
    assert without_times(result.history) == without_times(expected.history)
    assert without_times([result.best]) == without_times([expected.best])
    theirs = expected_model.state_dict()
    assert theirs.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_again_and_again(toy, whole, tmp_path, number):
    before = signal.getsignal(number)
    for rounds in (1, 6, 1, 22):
        with pytest.raises(TrainingInterrupted, match=r"complete: give the same command with --resume"):
            toy.train_toy(tmp_path, toy.ToyGan(stop_in=rounds, signal=number), resume=True)
        assert signal.getsignal(number) is before
    assert_same(toy.train_toy(tmp_path, resume=True), whole)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_process(toy, whole, tmp_path, number):
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    script = Path(toy.__file__)
    child = subprocess.Popen([sys.executable, script, tmp_path], stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "history.json").exists() or len(json.loads((tmp_path / "history.json").read_text())) < 2:
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(number)
    _, words = child.communicate(timeout=60)
    assert child.returncode != 0
    assert number == signal.SIGKILL or "training was interrupted after round" in words
    assert 0 < load(tmp_path / "last")["round"] < 48
    assert_same(toy.train_toy(tmp_path, resume=True), whole)


def test_the_time_of_checkpoints_changes_nothing(toy, whole, tmp_path):
    often = toy.TOY_SETTINGS.model_copy(update={"checkpoint_seconds": 0.0})
    assert_same(toy.train_toy(tmp_path, settings=often), whole)


def test_another_seed_gives_other_weights(toy, whole, tmp_path):
    model, _ = toy.train_toy(tmp_path, seed=4)
    assert not torch.equal(model.generator[0].weight, whole[0].generator[0].weight)


def test_a_finished_training_returns_at_once(toy, tmp_path):
    first = toy.train_toy(tmp_path)

    def never(model):
        raise RuntimeError("nothing is left to score")

    assert_same(toy.train_toy(tmp_path, toy.ToyGan(seed=9), resume=True, score=never), first)


def test_without_resume_it_starts_again(toy, whole, tmp_path):
    with pytest.raises(TrainingInterrupted):
        toy.train_toy(tmp_path, toy.ToyGan(stop_in=5), seed=8)
    assert_same(toy.train_toy(tmp_path), whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "b"}, "begun differently \\(the recipe is another one\\); undo the change, or train from the beginning"),
        ({"seed": 4}, "seed was 3, is 4"),
        ({"settings": TrainingSettings(epochs=13, batch_size=16, score_every=2, ema=0.9, device="cpu")}, "epochs was 12, is 13"),
    ],
)
def test_resuming_something_else(toy, tmp_path, change, message):
    with pytest.raises(TrainingInterrupted):
        toy.train_toy(tmp_path, toy.ToyGan(stop_in=5), fingerprint="a")
    with pytest.raises(ValueError, match=message):
        toy.train_toy(tmp_path, resume=True, **{"fingerprint": "a", **change})
    assert toy.train_toy(tmp_path, resume=True, fingerprint="a")[1].rounds == 48
