import json
import logging
import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from understudy.models.base import Batch, Model, Optimiser, Turn
from understudy.training.loop import TrainingSettings, train
from understudy.training.players import learning_rate
from understudy.training.weights import MovingAverage


class Mean(Model):
    """Learns the weighted mean of the response; its loss is a parabola, so every step is known."""

    noise_size = 1

    def __init__(self, **optimiser):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1))
        self.optimiser = Optimiser(**{"kind": "sgd", "lr": 0.1, **optimiser})
        self.seen = []

    def turns(self):
        return (Turn("mean", (self.mean,), self.optimiser, self.loss),)

    def loss(self, batch, generator):
        self.seen.append(batch.index.clone())
        weights = torch.ones(len(batch)) if batch.weights is None else batch.weights
        return 0.5 * (weights * (batch.response[:, 0] - self.mean) ** 2).sum() / weights.sum()

    def sample(self, noise, conditions):
        return self.mean.expand(len(noise), 1)


class Remember(Model):
    """Has no turns."""

    noise_size = 1

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.zeros(0))

    def fit(self, response, conditions, weights=None, given=None):
        self.kept = response.clone()

    def turns(self):
        return ()

    def sample(self, noise, conditions):
        return self.kept[: len(noise)]


def data(n=40, weights=None):
    response = torch.linspace(0, 1, n)[:, None]
    return Batch(response, torch.zeros(n, 1), weights, torch.arange(n))


def settings(**changes):
    return TrainingSettings(**{"epochs": 3, "batch_size": 40, "device": "cpu", "score_every": 1, **changes})


def test_steps_are_gradient_descent(tmp_path):
    model = Mean()
    result = train(model, data(), settings(epochs=10), seed=1, directory=tmp_path)
    assert model.mean.item() == pytest.approx(0.5 * (1 - 0.9**10), rel=1e-6)
    second_moment = float((data().response ** 2).mean()) / 2
    assert result.history[0]["losses"] == {"mean": pytest.approx(second_moment)}
    assert result.rounds == result.epochs == 10
    assert result.best is None
    assert json.loads((tmp_path / "history.json").read_text()) == result.history


def test_weights_reach_the_loss(tmp_path):
    model = Mean(lr=1.0)
    weights = torch.where(torch.arange(40) < 20, 1.0, -0.5)
    train(model, data(weights=weights), settings(), seed=1, directory=tmp_path)
    response = data().response[:, 0]
    assert model.mean.item() == pytest.approx(float((weights * response).sum() / weights.sum()), rel=1e-5)


def test_an_epoch_draws_every_event(tmp_path):
    model = Mean()
    result = train(model, data(41), settings(batch_size=10, epochs=2), seed=1, directory=tmp_path)
    assert result.rounds == 2 * 5
    assert set(torch.cat(model.seen[:5]).tolist()) == set(range(41))
    assert [row["updates"] for row in result.history] == [{"mean": 5}, {"mean": 10}]


def test_an_epoch_is_that_of_the_turn_with_most_repeats(toy, tmp_path):
    _, result = toy.train_toy(tmp_path)
    assert result.rounds == 12 * math.ceil(100 / (2 * 16))
    assert result.history[-1]["updates"] == {"critic": 96, "generator": 48}
    assert [row["epoch"] for row in result.history] == [2, 4, 6, 8, 10, 12]


def test_the_best_weights_are_kept(tmp_path):
    model = Mean(lr=0.5)
    result = train(
        model, data(), settings(epochs=6), seed=1, directory=tmp_path, score=lambda m: {"score": abs(m.mean.item() - 0.375)}
    )
    assert model.mean.item() == pytest.approx(0.375)
    assert result.best["round"] == 2
    assert [row["best"] for row in result.history] == [True, True, False, False, False, False]


def test_patience(tmp_path):
    score = {"score": 1.0}
    result = train(Mean(), data(), settings(epochs=50, patience=3), seed=1, directory=tmp_path, score=lambda m: score)
    assert result.rounds == 4
    again = train(Mean(), data(), settings(epochs=50, patience=3), seed=1, directory=tmp_path, score=lambda m: score, resume=True)
    assert again.rounds == 4


def test_a_score_that_is_nan_is_never_the_best(tmp_path):
    values = iter([math.nan, 2.0, math.nan])
    result = train(Mean(), data(), settings(), seed=1, directory=tmp_path, score=lambda m: {"score": next(values)})
    assert [row["score"]["score"] for row in result.history] == [None, 2.0, None]
    assert result.best["round"] == 2


def test_a_score_without_score(tmp_path):
    with pytest.raises(ValueError, match="must give a number called 'score'; it gave width"):
        train(Mean(), data(), settings(), seed=1, directory=tmp_path, score=lambda m: {"width": 1.0})


def test_moving_average_against_its_sum(tmp_path):
    shown = []

    def score(model):
        shown.append(model.mean.item())
        return {"score": -len(shown)}

    model = Mean(lr=0.5)
    train(model, data(), settings(epochs=5, ema=0.3), seed=1, directory=tmp_path, score=score)
    live, mean, expected = 0.0, 0.0, []
    for number in range(5):
        live += 0.5 * (0.5 - live)
        decay = min(0.3, (1 + number) / (10 + number))
        mean = decay * mean + (1 - decay) * live
        expected.append(mean)
    assert shown == pytest.approx(expected, rel=1e-6)
    assert model.mean.item() == pytest.approx(expected[-1], rel=1e-6)


def test_without_a_score_the_average_is_kept(tmp_path):
    model, live = Mean(), Mean()
    train(model, data(), settings(ema=0.5), seed=1, directory=tmp_path / "a")
    train(live, data(), settings(), seed=1, directory=tmp_path / "b")
    assert 0 < model.mean.item() < live.mean.item()


def test_average_restores_in_place():
    weight = nn.Parameter(torch.ones(2))
    average = MovingAverage([weight], 0.5)
    average.restore([torch.tensor([3.0, 4.0])])
    assert torch.equal(average.mean[0], torch.tensor([3.0, 4.0]))
    assert torch.equal(weight.detach(), torch.ones(2))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", 2.0), ("cosine", 2 * 0.5 * (1 + math.cos(math.pi / 4))), ("exponential", 2 * 0.5**0.25)],
)
def test_learning_rate(schedule, expected):
    assert learning_rate(Optimiser(lr=2.0, schedule=schedule, decay=0.5), 250, 1000) == pytest.approx(expected)


def test_schedule_reaches_the_optimiser(tmp_path):
    model = Mean(lr=1.0, schedule="cosine")
    train(model, data(), settings(epochs=2), seed=1, directory=tmp_path)
    assert model.mean.item() == pytest.approx(0.5)  # the first step, lr 1, jumps to the minimum
    model = Mean(lr=0.5, schedule="cosine")
    train(model, data(), settings(epochs=2), seed=1, directory=tmp_path)
    assert model.mean.item() == pytest.approx(0.25 + 0.25 * 0.25)


def test_clipped_gradients(tmp_path):
    model = Mean(lr=1.0, clip_norm=0.01)
    train(model, data(), settings(epochs=3), seed=1, directory=tmp_path)
    assert model.mean.item() == pytest.approx(0.03, rel=1e-3)


def test_a_model_without_turns(tmp_path):
    model = Remember()
    result = train(model, data(), settings(), seed=1, directory=tmp_path, score=lambda m: {"score": float(m.kept.mean())})
    assert torch.equal(model.kept, data().response)
    assert result.rounds == 0
    assert result.history[0]["score"] == {"score": pytest.approx(0.5)}
    resumed = Remember()
    again = train(resumed, data(), settings(), seed=1, directory=tmp_path, resume=True)
    assert torch.equal(resumed.kept, model.kept)
    assert again.history == result.history


class Blows(Mean):
    """Becomes NaN at an update."""

    def __init__(self, at, through="loss"):
        super().__init__()
        self.at, self.through, self.count = at, through, 0

    def loss(self, batch, generator):
        self.count += 1
        loss = super().loss(batch, generator)
        if self.count < self.at:
            return loss
        return loss * math.nan if self.through == "loss" else loss + (self.mean - self.mean.detach()).abs().sum().sqrt() * 0


@pytest.mark.parametrize("epochs", [5, 200])
def test_nan_loss(tmp_path, epochs):
    model = Blows(at=5)
    message = r"the loss of turn 'mean' became nan in round 5; .* back to its last good checkpoint, round 4 .*last; lower"
    with pytest.raises(FloatingPointError, match=message):
        train(model, data(), settings(epochs=epochs, score_every=2), seed=1, directory=tmp_path)
    assert model.mean.item() == pytest.approx(0.5 * (1 - 0.9**4), rel=1e-6)


def test_nan_weights_behind_a_finite_loss(tmp_path):
    model = Blows(at=3, through="gradient")
    with pytest.raises(FloatingPointError, match=r"a weight became NaN or infinite by round 3; .* round 2 "):
        train(model, data(), settings(), seed=1, directory=tmp_path)
    assert math.isfinite(model.mean.item())


def test_global_random_numbers_are_left_alone(toy, tmp_path):
    torch.manual_seed(12)
    before = torch.get_rng_state()
    toy.train_toy(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_and_mode_are_given_back(toy, tmp_path):
    model = toy.ToyGan().eval()
    toy.train_toy(tmp_path, model)
    assert not model.training
    assert model.fits == 1
    assert all(p.requires_grad for p in [*model.generator.parameters(), *model.critic.parameters()])
    assert not any(p.requires_grad for p in model.frozen.parameters())


def test_bfloat16(tmp_path, caplog, capfd):
    model = Mean(lr=0.5)
    with caplog.at_level(logging.INFO):
        train(model, data(), settings(precision="bf16-mixed"), seed=1, directory=tmp_path)
    assert model.mean.item() == pytest.approx(0.5 * (1 - 0.5**3), rel=1e-2)
    assert capfd.readouterr() == ("", "")


def test_no_such_device(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch finds no CUDA device here; use 'auto' or 'cpu'"):
        train(Mean(), data(), settings(device="cuda"), seed=1, directory=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"name": "twin"}, "every turn needs its own name"), ({"repeats": 0}, "0 repeats"), ({"parameters": ()}, "0 parameters")],
)
def test_bad_turns(tmp_path, change, message):
    class Twins(Mean):
        def turns(self):
            (turn,) = super().turns()
            return (replace(turn, name="twin"), replace(turn, **change))

    with pytest.raises(ValueError, match=message):
        train(Twins(), data(), settings(), seed=1, directory=tmp_path)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"ema": 1.0}, {"batchsize": 3}, {"device": "tpu"}, {"checkpoint_seconds": -1}])
def test_bad_settings(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


def test_threads_are_those_of_the_settings_and_given_back(tmp_path):
    before, seen = torch.get_num_threads(), []
    train(
        Mean(),
        data(),
        settings(threads=before + 1),
        seed=1,
        directory=tmp_path,
        score=lambda _: seen.append(torch.get_num_threads()) or {"score": 0.0},
    )
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_a_budget_of_minutes_ends_the_training_with_its_round(tmp_path):
    rounds_of = {}
    for name, minutes in (("short", 1e-9), ("long", 60.0)):
        settings = TrainingSettings(epochs=4, batch_size=10, score_every=3, device="cpu", threads=1, minutes=minutes)
        result = train(Mean(), data(), settings, seed=1, directory=tmp_path / name)
        rounds_of[name] = result.epochs
        assert ("stopped" in result.history[-1]) == (name == "short")
        assert 0 < rounds_of["short"] < 1.0
    assert rounds_of["long"] == 4.0
    assert "minutes of 'minutes' are used up" in json.loads((tmp_path / "short" / "history.json").read_text())[-1]["stopped"]
