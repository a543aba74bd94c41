"""The weights that are shown to the score and kept: the model's own, or their exponential moving average."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from understudy.models.base import Model


class MovingAverage:
    r"""Exponential moving average of weights, $\bar w \leftarrow d_t \bar w + (1 - d_t) w$.

    In round $t$ (from 0) the decay is $d_t = \min(d, (1 + t) / (10 + t))$: its small value in the first rounds forgets the
    untrained weights (averaging: Polyak and Juditsky 1992; the warm-up is TensorFlow's `ExponentialMovingAverage`).

    Args:
        live: the weights that are trained.
        decay: decay per round `d`, between 0 and 1.
    """

    def __init__(self, live: Sequence[nn.Parameter], decay: float) -> None:
        self.live = list(live)
        self.mean = [p.detach().clone() for p in live]
        self.decay = decay

    def update(self, number: int) -> None:
        """Take in the weights after round `number` (from 0)."""
        average = get_ema_multi_avg_fn(min(self.decay, (1 + number) / (10 + number)))  # type: ignore[no-untyped-call]
        average(self.mean, self.live, number)

    def restore(self, mean: Sequence[Tensor]) -> None:
        """Set the average from a checkpoint."""
        for mine, theirs in zip(self.mean, mean, strict=True):
            mine.copy_(theirs)


@contextmanager
def shown(model: Model, average: MovingAverage | None) -> Iterator[None]:
    """Hold the averaged weights in the model, in evaluation mode, for the time of a block."""
    kept = [] if average is None else [p.detach().clone() for p in average.live]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for p, mean in zip(average.live if average else (), average.mean if average else (), strict=True):
                p.copy_(mean)
        yield
    finally:
        with torch.no_grad():
            for p, value in zip(average.live if average else (), kept, strict=True):
                p.copy_(value)
        model.train(was_training)


def snapshot(model: Model) -> dict[str, Tensor]:
    """A copy of all weights and buffers by name."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def all_finite(model: Model) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(bool(torch.isfinite(p).all()) for p in model.parameters())
