r"""What a calibration is.

A trained generator is nearly right: each of its showers is a good one, but their total energies, widths and so on follow a
distribution that is a little off. A calibration learns a deterministic map of generated responses, $x' = C(x \mid c)$, such
that chosen numbers of $x'$ are distributed as those of the reference, and changes $x$ as little as that allows. It is fitted
on training events against events generated at the same conditions, watched on validation events, and exported with the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from understudy.training.history import Watch
from understudy.training.loop import TrainingResult
from understudy.transforms.base import Fitted, Tensors, check_sample


@dataclass(frozen=True)
class Pair:
    """Reference events and generated ones at the same conditions.

    Args:
        reference: physical response `(n, d)`, projected.
        generated: the same of the stand-in.
        features: encoded conditions `(n, c)`.
        conditions: by block name, physical units.
        weights: optional `(n,)`, may be negative; they count for both.
    """

    reference: Tensor
    generated: Tensor
    features: Tensor
    conditions: Tensors
    weights: Tensor | None = None

    def check(self, name: str) -> None:
        """ValueError unless there are events, as many of either kind."""
        check_sample(name, len(self.reference), self.weights)
        if self.reference.shape != self.generated.shape or len(self.features) != len(self.reference):
            raise ValueError(
                f"{name} compares generated events with reference events of the same conditions, but found shapes"
                f" {tuple(self.generated.shape)}, {tuple(self.reference.shape)} and {tuple(self.features.shape)} (features)"
            )


class Calibration(Fitted, ABC):
    """A map of generated physical responses `(n, d)`, given features and conditions.

    The response comes projected (thresholds and caps applied) and leaves so that projecting it again changes nothing that
    the calibration has set. `forward` uses only operations that ONNX knows.
    """

    @abstractmethod
    def fit(
        self,
        training: Pair,
        validation: Pair,
        *,
        seed: int,
        directory: str | Path,
        resume: bool = False,
        fingerprint: str = "",
        watch: Watch | None = None,
    ) -> TrainingResult:
        """Learn the map; arguments and errors as of `understudy.training.loop.train`.

        Args:
            training: what it is learned from.
            validation: what tells when to stop.
            seed: of all randomness.
            directory: where the checkpoint and the history go.
            resume: continue from the checkpoint in `directory`.
            fingerprint: of the recipe.
            watch: looks on.
        """

    @abstractmethod
    def forward(self, response: Tensor, features: Tensor, conditions: Tensors) -> Tensor:
        """The calibrated response `(n, d)`; RuntimeError if not fitted."""


class Description(Fitted, ABC):
    """Numbers that describe a response, as unbounded coordinates $m(x)$, and the way back from them."""

    names: tuple[str, ...]
    """One per coordinate."""

    @abstractmethod
    def fit(self, reference: Tensor, conditions: Tensors, weights: Tensor | None = None) -> None:
        """Learn the constants from reference events."""

    @abstractmethod
    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """The coordinates `(n, k)` of responses `(n, d)`."""

    @abstractmethod
    def impose(self, response: Tensor, coordinates: Tensor, conditions: Tensors) -> Tensor:
        """The response `(n, d)`, changed so that its coordinates are `coordinates`, or as near to them as can be."""
