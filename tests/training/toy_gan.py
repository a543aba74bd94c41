"""A small adversarial model with all that a checkpoint must hold; as a script it trains, slowly enough to be killed."""

import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from understudy.models.base import Batch, Model, Optimiser, Turn
from understudy.training.loop import TrainingSettings, train


class ToyGan(Model):
    noise_size = 4

    def __init__(self, seed=0, pause=0.0, stop_in=-1, signal=2, dropout=0.2):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = nn.Sequential(nn.Linear(4 + 2, 16), nn.BatchNorm1d(16), nn.LeakyReLU(), nn.Linear(16, 3))
            self.critic = nn.Sequential(nn.Linear(3 + 2, 16), nn.LeakyReLU(), nn.Dropout(dropout), nn.Linear(16, 1))
            self.frozen = nn.Linear(1, 1).requires_grad_(False)
        self.register_buffer("scale", torch.ones(3))
        self.pause = pause
        self.stop_in, self.signal = stop_in, signal
        self.fits = 0

    def fit(self, response, conditions, weights=None, given=None):
        self.scale = response.std(0)
        self.fits += 1

    def turns(self):
        steady = Optimiser(lr=1e-3, schedule="exponential", clip_norm=1.0)
        falling = Optimiser(kind="adamw", lr=1e-3, schedule="cosine")
        return (
            Turn("critic", tuple(self.critic.parameters()), steady, self.critic_loss, repeats=2),
            Turn("generator", tuple(self.generator.parameters()), falling, self.generator_loss),
        )

    def sample(self, noise, conditions):
        return self.generator(torch.cat([noise, conditions], 1)) * self.scale

    def judge(self, response, conditions):
        return self.critic(torch.cat([response, conditions], 1))

    def draw(self, batch, generator):
        return self.sample(torch.randn(len(batch), self.noise_size, generator=generator), batch.conditions)

    def critic_loss(self, batch, generator):
        fake = self.draw(batch, generator)
        assert not fake.requires_grad, "the generator has no gradients in the critic's turn"
        return (
            self.judge(fake, batch.conditions).mean()
            - (batch.weights[:, None] * self.judge(batch.response, batch.conditions)).mean()
        )

    def generator_loss(self, batch, generator):
        time.sleep(self.pause)
        self.stop_in -= 1
        if self.stop_in == 0:
            os.kill(os.getpid(), self.signal)
        return -self.judge(self.draw(batch, generator), batch.conditions).mean()


def toy_data(n=100):
    generator = torch.Generator().manual_seed(5)
    conditions = torch.rand(n, 2, generator=generator)
    response = torch.randn(n, 3, generator=generator) + conditions.sum(1, keepdim=True)
    return Batch(response, conditions, torch.rand(n, generator=generator) + 0.5, torch.arange(n))


def toy_score(model):
    noise = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    torch.rand(3)  # a score that draws global random numbers must not disturb the training
    with torch.no_grad():
        drawn = model.sample(noise, torch.full((64, 2), 0.5))
    return {"score": float((drawn.mean(0) - 1).abs().sum()), "width": float(drawn.std())}


TOY_SETTINGS = TrainingSettings(epochs=12, batch_size=16, score_every=2, ema=0.9, checkpoint_seconds=1e9, device="cpu", threads=1)


def train_toy(directory, model=None, settings=TOY_SETTINGS, **arguments):
    model = model or ToyGan()
    given = {"seed": 3, "score": toy_score, **arguments}
    return model, train(model, toy_data(), settings, directory=directory, **given)


if __name__ == "__main__":
    train_toy(Path(sys.argv[1]), ToyGan(pause=0.03), TOY_SETTINGS.model_copy(update={"checkpoint_seconds": 0.1}))
