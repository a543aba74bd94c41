"""What holds for every registered projection; a new one is tested as soon as it is registered."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from understudy import registry
from understudy.geometry import builtin
from understudy.schema import Block, Schema
from understudy.transforms.base import Projection

GEOMETRY = builtin("atlas-em-89")
SCHEMA = Schema((Block("incident_energy", "MeV"),), (Block("showers", "MeV", shape=(89,), minimum=0),))
CUTS = {"presampler": 120.0, "strips": 60.0, "middle": 200.0, "back": 200.0}

KNOWN: list[dict[str, Any]] = [
    {"kind": "threshold", "layers": CUTS},
    {"kind": "threshold", "energy": 10.0},
    {"kind": "cap", "layers": {name: 50 * cut for name, cut in CUTS.items()}},
    {"kind": "cap", "energy": 1000.0},
    {"kind": "non-negative"},
]


COLUMNS = {"hcal-readout": 3328}
"""Kinds that know one calorimeter only, and its number of cells."""


def specs() -> list[dict[str, Any]]:
    named = {spec["kind"] for spec in KNOWN}
    return [*KNOWN, *({"kind": kind} for kind in registry.kinds("projections") if kind not in named)]


def build(spec: dict[str, Any]) -> Projection:
    made = registry.factory("projections", spec)(geometry=GEOMETRY, schema=SCHEMA)
    assert isinstance(made, Projection)
    return made


def sample(spec: dict[str, Any]) -> Tensor:
    """Energies from -100 to 1e5 MeV, with zeros, values at every cut and one float to either side of it."""
    generator = torch.Generator().manual_seed(1)
    if spec["kind"] in COLUMNS:
        x = 10 ** (8 * torch.rand(20, COLUMNS[spec["kind"]], generator=generator) - 3)
        x[:, ::5] *= -1e-3
        x[0], x[1], x[2] = 0, 24.0, 6120.0
        return x
    x = 10 ** (8 * torch.rand(50, 89, generator=generator) - 3)
    x[:, ::5] *= -1e-3
    cut = torch.as_tensor(GEOMETRY.per_layer(CUTS), dtype=torch.float32)
    x[0], x[1], x[2], x[3] = 0, cut, torch.nextafter(cut, torch.zeros(89)), torch.nextafter(cut, 2 * cut)
    x[4] = 10.0
    return x


def label(spec: dict[str, Any]) -> str:
    return "-".join([spec["kind"], *(k for k in spec if k != "kind")])


every = pytest.mark.parametrize("spec", specs(), ids=label)
one_of_each_kind = pytest.mark.parametrize("spec", {spec["kind"]: spec for spec in reversed(specs())}.values(), ids=label)


@every
def test_can_be_built_from_a_recipe(spec: dict[str, Any]) -> None:
    try:
        build(spec)
    except ValueError as error:
        pytest.fail(f"{spec['kind']} cannot be built without arguments ({error}); add an example of it to KNOWN")


@every
def test_twice_is_once(spec: dict[str, Any]) -> None:
    projection = build(spec)
    once = projection(sample(spec), {})
    assert once.shape == sample(spec).shape
    assert bool(once.isfinite().all())
    assert torch.equal(projection(once, {}), once)


@every
def test_is_one_way(spec: dict[str, Any]) -> None:
    """Some values change, and different ones become the same."""
    projection = build(spec)
    x = sample(spec)
    once = projection(x, {})
    assert not torch.equal(once, x)
    assert len(set(once.flatten().tolist())) < len(set(x.flatten().tolist()))


@every
def test_has_nothing_to_fit_and_follows_its_module(spec: dict[str, Any]) -> None:
    projection = build(spec)
    build(spec).load_state_dict(projection.state_dict())
    assert projection.to("meta")(sample(spec).to("meta"), {}).device.type == "meta"


class Alone(nn.Module):
    def __init__(self, projection: Projection) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, response: Tensor) -> Tensor:
        projected: Tensor = self.projection(response, {})
        return projected


@one_of_each_kind
def test_the_exported_projection_is_the_same_to_the_bit(spec: dict[str, Any]) -> None:
    x = sample(spec)
    module = Alone(build(spec)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module, (x[:4],), dynamo=True, optimize=False, verbose=False, dynamic_shapes=({0: "n"},))
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_array_equal(found, module(x).numpy())
