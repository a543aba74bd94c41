"""What a GAN may be asked for besides the paper's game: a warm-up, clipped weights, a critic that is not told the conditions."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch

from understudy.models.base import Batch, Optimiser
from understudy.models.discrimination import exchanged
from understudy.models.gan import GAN
from understudy.registry import factory
from understudy.training.loop import TrainingInterrupted, TrainingSettings, train
from understudy.training.players import line_up

DENSE = {"kind": "dense", "layers": 1, "width": 8}
RECTIFIED = {"kind": "rectified", "layers": 1, "width": 8}
WARM_UP = 7
SETTINGS = TrainingSettings(epochs=6, batch_size=10, score_every=1, checkpoint_seconds=1e9, device="cpu", threads=1)
"""4 rounds per epoch of 80 events, at two critic steps."""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def data(n=80):
    conditions = torch.rand(n, 2, generator=generator(1))
    response = torch.relu(torch.randn(n, 3, generator=generator(2)) + 2 * conditions[:, :1])
    return Batch(response, conditions, torch.rand(n, generator=generator(3)) + 0.5, torch.arange(n))


class Stopping(GAN):
    """Is interrupted when it has been asked for so many losses of its generator, the warm-up's included."""

    def __init__(self, stop_in=-1, **words):
        given = {"critic": DENSE, "generator": RECTIFIED, "noise": 2, "critic_steps": 2, "warm_up": WARM_UP, **words}
        super().__init__(feature_size=2, response_size=3, rng=generator(), **given)
        self.stop_in = stop_in

    def _ask(self):
        self.stop_in -= 1
        if self.stop_in == 0:
            os.kill(os.getpid(), signal.SIGINT)

    def likelihood_loss(self, batch, generator):
        self._ask()
        return super().likelihood_loss(batch, generator)

    def generator_loss(self, batch, generator):
        self._ask()
        return super().generator_loss(batch, generator)


def score(model):
    with torch.no_grad():
        drawn = model.sample(torch.randn(50, model.noise_size, generator=generator(4)), torch.full((50, 2), 0.5))
    return {"score": float((drawn.mean(0) - 1).abs().sum())}


def trained(folder, model=None, **words):
    model = model or Stopping()
    return model, train(model, data(), SETTINGS, seed=3, directory=folder, score=score, **words)


def test_before_the_game_the_warm_up_alone_is_played(tmp_path):
    _, result = trained(tmp_path)
    assert result.rounds == 24
    for row in result.history:
        played = row["round"]
        game = max(0, played - WARM_UP)
        assert row["updates"] == {"warm-up": min(played, WARM_UP), "critic": 2 * game, "generator": game}


def test_the_critic_stays_as_it_was_until_the_game_begins(tmp_path):
    before = {k: v.clone() for k, v in Stopping().state_dict().items()}
    for stop, moved in ((WARM_UP, False), (1, True)):
        model = Stopping(stop_in=stop)
        with pytest.raises(TrainingInterrupted):
            trained(tmp_path, model, resume=True)
        now = model.state_dict()
        assert any(not torch.equal(v, now[k]) for k, v in before.items() if k.startswith("critic.")) is moved
        assert any(not torch.equal(v, now[k]) for k, v in before.items() if k.startswith("generator."))


def test_a_training_that_is_interrupted_in_the_warm_up_and_in_the_game_ends_the_same(tmp_path):
    whole, expected = trained(tmp_path / "whole")
    for stop in (3, 4, 1, 5):  # in the warm-up, at its end, at the first round of the game, later
        with pytest.raises(TrainingInterrupted):
            trained(tmp_path / "parts", Stopping(stop_in=stop), resume=True)
    model, result = trained(tmp_path / "parts", resume=True)
    assert [r["updates"] for r in result.history] == [r["updates"] for r in expected.history]
    assert [r["losses"] for r in result.history] == [r["losses"] for r in expected.history]
    assert [r["score"] for r in result.history] == [r["score"] for r in expected.history]
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_schedules_stretch_over_the_rounds_in_which_a_turn_is_played():
    model = Stopping()
    players = line_up(model, model.turns(), [None] * 3, 24)
    assert {p.turn.name: p.updates for p in players} == {
        "warm-up": WARM_UP,
        "critic": 2 * (24 - WARM_UP),
        "generator": 24 - WARM_UP,
    }


def test_a_warm_up_that_leaves_no_round_for_the_game_is_refused(tmp_path):
    with pytest.raises(ValueError, match="turn 'critic' of Stopping would begin after 24 rounds, but the training has 24; train"):
        trained(tmp_path, Stopping(warm_up=24))


def test_the_warm_up_brings_the_cells_nearer_to_their_likelihood():
    model, batch = Stopping(warm_up_optimiser=Optimiser(lr=1e-2)), data()
    model.fit(batch.response, batch.conditions)
    warm_up = model.turns()[0]
    optimiser, g = warm_up.optimiser.build(warm_up.parameters), generator(5)
    first = float(model.likelihood_loss(batch, generator(6)).detach())
    for _ in range(200):
        optimiser.zero_grad()
        warm_up.loss(batch, g).backward()
        optimiser.step()
    assert float(model.likelihood_loss(batch, generator(6)).detach()) < first - 0.1


def test_only_a_generator_with_a_likelihood_can_be_warmed_up():
    with pytest.raises(ValueError, match="warm_up needs a generator that has a likelihood; choose the network 'rectified'"):
        GAN(feature_size=2, response_size=3, generator=DENSE, warm_up=1)


def test_clipping_bounds_the_critic_after_every_update_and_the_critic_alone(tmp_path):
    model = Stopping(warm_up=0, penalty=None, clip_weights=0.05)
    assert max(float(p.detach().abs().max()) for p in model.critic.parameters()) > 0.05
    trained(tmp_path, model)
    assert max(float(p.detach().abs().max()) for p in model.critic.parameters()) <= 0.05 * (1 + 1e-6)
    assert max(float(p.detach().abs().max()) for p in model.generator.parameters()) > 0.05
    assert [turn.after is None for turn in model.turns()] == [False, True]
    assert all(turn.after is None for turn in Stopping(warm_up=0).turns())


def test_a_critic_without_features_sees_the_response_alone():
    model, told, batch = Stopping(critic_features=False), Stopping(), data()
    other = batch.conditions.flip(0)
    assert torch.equal(model.score(batch.response, batch.conditions), model.score(batch.response, other))
    assert not torch.equal(told.score(batch.response, batch.conditions), told.score(batch.response, other))
    inputs = [next(m for m in gan.critic.modules() if isinstance(m, torch.nn.Linear)).in_features for gan in (model, told)]
    assert inputs == [3, 5]
    noise = torch.randn(80, model.noise_size, generator=generator(7))
    assert not torch.equal(model.sample(noise, batch.conditions), model.sample(noise, other))  # the generator is told


def residual(last=1e-3, noise=3, network="dense"):
    words = {"kind": network, "layers": 1, "width": 8} | ({"last": last} if network == "dense" else {})
    return GAN(feature_size=2, response_size=3, generator=words, critic=DENSE, noise=noise, residual=True, rng=generator())


def test_a_residual_generator_adds_what_its_network_gives_to_the_noise():
    model = residual(last=1.0)
    noise, conditions = torch.randn(40, 3, generator=generator(5)), torch.rand(40, 2, generator=generator(6))
    expected = noise + model.generator(torch.cat([noise, conditions], 1))
    torch.testing.assert_close(model.sample(noise, conditions), expected)
    assert float((residual().sample(noise, conditions) - noise).detach().abs().max()) < 0.02


def test_a_residual_generator_learns_what_the_noise_lacks():
    """Correlated normal columns with one that is the square of another: from independent ones, in a few hundred rounds."""
    z = torch.randn(2000, 3, generator=generator(7))
    response = torch.stack([z[:, 0], z[:, 1] + 0.8 * (z[:, 0] ** 2 - 1), z[:, 2]], 1)
    conditions = torch.zeros(2000, 2)
    model = GAN(
        feature_size=2,
        response_size=3,
        generator={"kind": "dense", "layers": 2, "width": 32, "last": 0.01},
        critic={"kind": "dense", "layers": 2, "width": 32},
        noise=3,
        residual=True,
        generator_optimiser=Optimiser(lr=1e-3, betas=(0.0, 0.9)),
        critic_optimiser=Optimiser(lr=3e-3, betas=(0.0, 0.9)),
        rng=generator(),
    )
    noise = torch.randn(4000, 3, generator=generator(8))

    def follows():
        with torch.no_grad():
            made = model.sample(noise, torch.zeros(4000, 2))
        return float(torch.corrcoef(torch.stack([made[:, 0] ** 2, made[:, 1]]))[0, 1])

    assert abs(follows()) < 0.1
    for turn in (turns := model.turns()):
        assert turn.parameters
    optimisers = [turn.optimiser.build(turn.parameters) for turn in turns]
    draws = generator(9)
    for _ in range(300):
        for turn, optimiser in zip(turns, optimisers, strict=True):
            for _ in range(turn.repeats):
                rows = torch.randint(0, 2000, (128,), generator=draws)
                optimiser.zero_grad()
                turn.loss(Batch(response[rows], conditions[rows]), draws).backward()
                optimiser.step()
    assert follows() > 0.4  # the truth has 0.75


def test_a_residual_generator_needs_noise_as_long_as_the_response_and_none_of_its_own():
    with pytest.raises(ValueError, match="there are 2 numbers of noise and 3 of the response; make them as many"):
        residual(noise=2)
    with pytest.raises(ValueError, match="without noise of its own; choose another network"):
        residual(network="rectified")


class TestWhatAnyCriticMayBeGiven:
    """The components of `models.discrimination`, as options of a GAN."""

    def gan(self, **words):
        dense = {"kind": "dense", "layers": 2, "width": 8}
        spec = {"kind": "gan", "generator": dense, "critic": dense, "noise": 2, "penalty": None, **words}
        return factory("models", spec)(feature_size=1, response_size=3, rng=torch.Generator().manual_seed(0))

    def batch(self, n=8):
        g = torch.Generator().manual_seed(1)
        return Batch(torch.randn(n, 3, generator=g), torch.randn(n, 1, generator=g))

    def test_both_sides_have_steps_and_rates_of_their_own(self):
        turns = self.gan(critic_steps=2, generator_steps=3, generator_optimiser={"lr": 1e-5}).turns()
        assert [(t.name, t.repeats) for t in turns] == [("critic", 2), ("generator", 3)]
        assert turns[1].optimiser.lr == 1e-5 != turns[0].optimiser.lr

    def test_spectral_normalisation_gives_every_layer_the_largest_singular_value_1(self):
        model = self.gan(spectral=True)
        for _ in range(30):  # the power iteration goes on in every pass
            model.critic_loss(self.batch(), torch.Generator().manual_seed(2))
        layers = [m for m in model.critic.modules() if isinstance(m, torch.nn.Linear)]
        assert len(layers) == 3
        for layer in layers:
            assert float(torch.linalg.svdvals(layer.weight.detach())[0]) == pytest.approx(1, abs=1e-3)
        again = self.gan(spectral=True)
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), self.gan(spectral=True).parameters(), strict=True))

    def test_random_labels_exchange_some_pairs(self):
        real, generated = torch.arange(1000.0), -torch.arange(1000.0) - 1
        first, second = exchanged(real, generated, 0.1, torch.Generator().manual_seed(3))
        changed = first < 0
        assert 60 < int(changed.sum()) < 140
        assert torch.equal(first[changed], generated[changed])
        assert torch.equal(second[changed], real[changed])
        assert torch.equal(first[~changed], real[~changed])
        assert torch.isfinite(self.gan(random_labels=0.1).critic_loss(self.batch(), torch.Generator().manual_seed(3)))

    def test_feature_matching_takes_the_place_of_the_game(self):
        model, b = self.gan(feature_matching=2.0), self.batch()
        noise = torch.randn(8, 2, generator=torch.Generator().manual_seed(4))
        body = model.critic.layers[:4]
        f, g = (body(torch.cat([x, b.conditions], 1)) for x in (b.response, model.sample(noise, b.conditions)))
        expected = 2.0 * (f.mean(0) - g.mean(0)).square().sum()
        torch.testing.assert_close(model.generator_loss(b, torch.Generator().manual_seed(4)), expected)

    def test_one_sided_label_smoothing_against_its_definition(self):
        real, fake = torch.linspace(-2, 3, 6), torch.linspace(-3, 1, 6)
        d, e = torch.sigmoid(real), torch.sigmoid(fake)
        expected = -(0.9 * d.log() + 0.1 * (1 - d).log() + (1 - e).log()).mean()
        smooth = factory("objectives", {"kind": "vanilla", "real_label": 0.9})()
        torch.testing.assert_close(smooth.critic(real, fake, None), expected)
        best = math.log(0.9 / 0.1)  # where the critic of real events alone stops
        at = torch.tensor(best, requires_grad=True)
        smooth.critic(at[None], torch.tensor([-50.0]), None).backward()
        assert float(at.grad) == pytest.approx(0, abs=1e-6)

    def test_least_squares_against_its_definition(self):
        real, fake = torch.linspace(-2, 3, 6), torch.linspace(-3, 1, 6)
        squares = factory("objectives", "least-squares")()
        torch.testing.assert_close(squares.critic(real, fake, None), 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean())
        torch.testing.assert_close(squares.generator(fake, None), 0.5 * ((fake - 1) ** 2).mean())

    def test_a_critic_with_minibatch_discrimination_judges_real_and_generated_events_apart(self):
        model, b = self.gan(critic={"kind": "minibatch", "network": {"kind": "dense", "width": 8}}), self.batch()
        loss = model.critic_loss(b, torch.Generator().manual_seed(5))
        noise = torch.randn(8, 2, generator=torch.Generator().manual_seed(5))
        made = model.sample(noise, b.conditions)
        expected = (model.score(made, b.conditions) - model.score(b.response, b.conditions)).mean()
        torch.testing.assert_close(loss, expected)

    def test_a_penalty_on_a_critic_that_looks_at_its_batch_is_refused(self):
        with pytest.raises(ValueError, match="a penalty holds for each event by itself, but this critic looks at the whole"):
            self.gan(critic={"kind": "minibatch"}, penalty="gradient")
