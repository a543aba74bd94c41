"""A trained stand-in: stages of encoder, model, transforms and projections, run one after the other.

Each `Stage` produces either a derived condition (the energy sum of the cells, given what the user knows) or the
response. The whole chain is one torch module, `forward(noise, conditions) -> response`, which is what is exported, and a
`Simulator`, which is what is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.canonical import CanonicalFrame
from understudy.conditions import answered, condition_blocks, flagged, together
from understudy.domain import Domain
from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.models.base import Model
from understudy.schema import Schema
from understudy.simulator import Conditions
from understudy.transforms.base import Chain, Projection, Tensors
from understudy.transforms.features import FeatureEncoder

RESPONSE = "response"
"""What the last stage produces."""
DETECTED = "detected"
"""What a stage produces that tells whether there is a response at all: the mask of the events."""


class Stage(nn.Module):
    """One model with its encoder in front and its transforms and projections behind.

    Args:
        produces: name of the derived condition it produces, `detected`, or `response`.
        encoder: conditions to features.
        transforms: physical to learned space of what it produces.
        model: draws in the learned space.
        projections: applied last, to physical values.
        frame: where encoder, transforms, model and calibrations live; the caller's own frame if None.
        calibrations: change projected physical values, one after the other.
    """

    words: Mapping[str, Any] = MappingProxyType({})
    """How a recipe says what a stage that learns from this one must share with it; empty where that is not known."""

    def __init__(
        self,
        produces: str,
        encoder: FeatureEncoder,
        transforms: Chain,
        model: Model,
        projections: Sequence[Projection] = (),
        frame: CanonicalFrame | None = None,
        calibrations: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.produces = produces
        self.frame = frame
        self.encoder = encoder
        self.transforms = transforms
        self.model = model
        self.projections = nn.ModuleList(projections)
        self.calibrations = nn.ModuleList(calibrations)

    def before_projections(self, noise: Tensor, conditions: Tensors) -> Tensor:
        """Physical values `(n, d)`, calibrated, before thresholds and caps are applied for the last time."""
        element, seen = self.canonical(conditions)
        features = self.encoder(seen)
        drawn = self.physical(self.model.sample(noise, features), seen)
        return self.restored(self.calibrated(drawn, features, seen), element)

    def drawn(self, noise: Tensor, conditions: Tensors) -> tuple[Tensor, Tensor]:
        """Of a stage that produces `detected`: the probability and whether it is, both `(n,)`."""
        _, seen = self.canonical(conditions)
        found: tuple[Tensor, Tensor] = self.model.drawn(noise, self.encoder(seen))  # type: ignore[operator]
        return found

    def canonical(self, conditions: Tensors) -> tuple[Tensor | None, Tensors]:
        """The conditions that encoder, transforms and model see, and the element of `frame` that leads to them."""
        if self.frame is None:
            return None, conditions
        element = self.frame.element(conditions)
        return element, self.frame.conditions(conditions, element)

    def physical(self, drawn: Tensor, seen: Tensors) -> Tensor:
        """What the model has drawn as physical values `(n, d)`, not calibrated, in the frame of the conditions `seen`."""
        return self.transforms.inverse(drawn, seen)

    def calibrated(self, values: Tensor, features: Tensor, seen: Tensors) -> Tensor:
        """Physical values `(n, d)` after the calibrations, which take them projected; RuntimeError if one is not fitted."""
        for calibration in self.calibrations:
            values = calibration(self.project(values, seen), features, seen)
        return values

    def restored(self, values: Tensor, element: Tensor | None) -> Tensor:
        """Values `(n, d)` in the caller's frame; derived conditions are the same in all of them."""
        if self.frame is None or element is None or self.produces != RESPONSE:
            return values
        return self.frame.back(values, element)

    def turned(self, values: Tensor, element: Tensor | None) -> Tensor:
        """Values `(n, d)` in the frame that the model sees; `restored` brings them back."""
        if self.frame is None or element is None or self.produces != RESPONSE:
            return values
        return self.frame.to_canonical(values, element)

    def project(self, values: Tensor, conditions: Tensors) -> Tensor:
        """Apply the projections to `(n, d)`."""
        for projection in self.projections:
            values = projection(values, conditions)
        return values

    def forward(self, noise: Tensor, conditions: Tensors) -> Tensor:
        """Physical values `(n, d)` for noise `(n, model.noise_size)`."""
        return self.project(self.before_projections(noise, conditions), conditions)


class Surrogate(nn.Module):
    """Stages in order, the last one producing the response; a Simulator.

    Args:
        schema: blocks of the events that it stands in for.
        stages: the stages; the last one produces the response.
        geometry: where the response's numbers sit, if it is a calorimeter's.
        domain: ranges of the conditions it was trained on.
    """

    def __init__(self, schema: Schema, stages: Sequence[Stage], geometry: Calorimeter | None, domain: Domain) -> None:
        super().__init__()
        if not stages or stages[-1].produces != RESPONSE:
            raise ValueError("the last stage of a surrogate must produce the response")
        self.schema = schema
        self.stages = nn.ModuleList(stages)
        self.geometry = geometry
        self.domain = domain

    @property
    def last(self) -> Stage:
        """The stage that produces the response."""
        return self.stages[-1]  # type: ignore[return-value]

    @property
    def detection(self) -> Stage | None:
        """The stage that tells what is detected; None where everything is."""
        return next((stage for stage in self.stages if stage.produces == DETECTED), None)  # type: ignore[return-value]

    def detected(self, noise: Tensor, conditions: Tensors) -> tuple[Tensor, Tensor]:
        """The probability to be detected, and whether an event is (1 or 0), both `(n,)`; arguments as of `forward`."""
        start = 0
        for stage in self.stages:
            size = int(stage.model.noise_size)  # type: ignore[union-attr, arg-type]
            if stage.produces == DETECTED:
                found: tuple[Tensor, Tensor] = stage.drawn(noise[:, start : start + size], conditions)  # type: ignore[operator]
                return found
            start += size
        every = noise.new_ones(len(noise))
        return every, every

    @property
    def noise_size(self) -> int:
        """Length of the noise vector of all stages together."""
        return sum(stage.model.noise_size for stage in self.stages)  # type: ignore[union-attr, misc]

    def forward(self, noise: Tensor, conditions: Tensors) -> Tensor:
        """The packed response `(n, d)`.

        Args:
            noise: standard normal `(n, noise_size)`, the stages' noise side by side.
            conditions: physical values by block name. A derived condition that is given is used as it is.
        """
        stage, noise, conditions = self.until_last(noise, conditions)
        values: Tensor = stage(noise, conditions)
        return values

    def before_projections(self, noise: Tensor, conditions: Tensors) -> Tensor:
        """The packed response `(n, d)` before thresholds and caps."""
        stage, noise, conditions = self.until_last(noise, conditions)
        return stage.before_projections(noise, conditions)

    def until_last(self, noise: Tensor, conditions: Tensors) -> tuple[Stage, Tensor, Tensors]:
        """The last stage with its noise and all conditions that it may ask for, after the stages before it."""
        known = dict(conditions)
        start = 0
        *upstream, last = self.stages
        for stage in upstream:
            size = stage.model.noise_size  # type: ignore[union-attr]
            name = str(stage.produces)
            if name not in known and name != DETECTED:
                produced = stage(noise[:, start : start + size], known)  # type: ignore[operator]
                known[name] = produced.reshape(-1) if not self.schema.block(name).shape else produced
            start += size  # type: ignore[operator, assignment]
        return last, noise[:, start:], known  # type: ignore[return-value]

    def simulate(self, conditions: Conditions, generator: np.random.Generator, chunk: int = 2000) -> Events:
        """Simulate every row of `conditions` once.

        Args:
            conditions: arrays by block name, physical units; all given conditions of the schema. A derived condition
                (the cells' energy sum, say) may be given too and is then used instead of drawn.
            generator: source of the noise.
            chunk: events per forward pass, at most; the result does not depend on it.

        Returns:
            Events with the response, its mask where the stand-in has learned what is detected, and, as
            `aux["out_of_domain"]`, a flag per event whose conditions lie outside the range that was trained on (a warning names
            the range).
        """
        blocks = condition_blocks(self.schema, conditions)
        events = Events(Schema(blocks, self.schema.response), {b.name: conditions[b.name] for b in blocks}, where="conditions")
        noise = generator.standard_normal((len(events), self.noise_size), dtype=np.float32)
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        packed = np.empty((len(events), self.schema.response_width), np.float32)
        chunk = together(self.schema.response_width, chunk)
        detected = None if self.detection is None else np.empty(len(events), bool)
        was_training = self.training
        self.eval()
        with torch.inference_mode():
            for start in range(0, len(events), chunk):
                rows = slice(start, start + chunk)
                given = as_tensors(events.conditions, rows, device)
                drawn = torch.from_numpy(noise[rows]).to(device)
                packed[rows] = self(drawn, given).cpu().numpy()
                if detected is not None:
                    detected[rows] = self.detected(drawn, given)[1].cpu().numpy() > 0
        self.train(was_training)
        return flagged(answered(events, packed, detected), self.domain)

    def detection_probability(self, conditions: Conditions, chunk: int = 8192) -> np.ndarray[Any, Any] | None:
        """The probability of each row of `conditions` to be detected, `(n,)`; None where everything is."""
        if self.detection is None:
            return None
        given = {b.name: np.asarray(conditions[b.name], np.float32) for b in self.schema.given}
        found = np.empty(len(next(iter(given.values()))), np.float32)
        was_training = self.training
        self.eval()
        with torch.inference_mode():
            for start in range(0, len(found), chunk):
                known = as_tensors(given, slice(start, start + chunk))
                noise = torch.zeros(len(found[start : start + chunk]), self.noise_size)
                found[start : start + chunk] = self.detected(noise, known)[0].cpu().numpy()
        self.train(was_training)
        return found


def as_tensors(arrays: Mapping[str, Any], rows: slice = slice(None), device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Arrays by name as float32 (or integer) tensors."""
    return {name: torch.tensor(np.asarray(values[rows])).to(device) for name, values in arrays.items()}
