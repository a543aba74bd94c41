from __future__ import annotations

import math
import warnings

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from understudy.schema import Block, Schema
from understudy.transforms.box_cox import fit_power
from understudy.transforms.features import FeatureEncoder

SCHEMA = Schema(
    (
        Block("incident_energy", "MeV", minimum=0),
        Block("eta"),
        Block("phi", "rad", kind="periodic", period=2 * math.pi),
        Block("particle", kind="categorical"),
        Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz")),
        Block("spot", "mm", shape=(2,)),
        Block("face", kind="image", shape=(4, 4)),
    )
)
ALL = {
    "incident_energy": "log",
    "eta": "raw",
    "phi": "periodic",
    "particle": "one-hot:3",
    "momentum": "direction",
    "spot": "standardise",
}


def sample(n: int = 200, seed: int = 1) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    momentum = torch.randn(n, 3, generator=g) * torch.tensor([500.0, 300.0, 1.0])
    momentum[:, 2] = 10 ** (3 + 2 * torch.rand(n, generator=g))
    return {
        "incident_energy": 10 ** (3 + 3 * torch.rand(n, generator=g)),
        "eta": torch.rand(n, generator=g),
        "phi": (2 * torch.rand(n, generator=g) - 1) * math.pi,
        "particle": torch.randint(0, 3, (n,), generator=g),
        "momentum": momentum,
        "spot": torch.randn(n, 2, generator=g) * 5 + 300,
    }


def by_hand(c: dict[str, Tensor]) -> Tensor:
    """Event by event, as the equations say."""

    def standard(column: list[float]) -> list[float]:
        mean = sum(column) / len(column)
        sigma = math.sqrt(sum((x - mean) ** 2 for x in column) / len(column))
        return [(x - mean) / sigma for x in column]

    v = {k: x.double().tolist() for k, x in c.items()}
    columns = [
        standard([math.log(e) for e in v["incident_energy"]]),
        v["eta"],
        [math.sin(p) for p in v["phi"]],
        [math.cos(p) for p in v["phi"]],
        *[[float(p == k) for p in v["particle"]] for k in range(3)],
        standard([math.log(math.hypot(*p)) for p in v["momentum"]]),
        standard([p[0] / p[2] for p in v["momentum"]]),
        standard([p[1] / p[2] for p in v["momentum"]]),
        *[standard([s[i] for s in v["spot"]]) for i in (0, 1)],
    ]
    return torch.tensor(columns).T


def test_all_encodings_follow_their_equations() -> None:
    encoder = FeatureEncoder(ALL, SCHEMA).fit(sample())
    features = encoder(sample())
    assert features.dtype == torch.float32
    assert features.shape == (200, encoder.size)
    torch.testing.assert_close(features, by_hand(sample()), rtol=1e-4, atol=2e-5)


def test_names_and_size_are_known_before_the_fit() -> None:
    encoder = FeatureEncoder(ALL, SCHEMA)
    assert encoder.size == len(encoder.names) == 12
    assert encoder.names == (
        "log(incident_energy)",
        "eta",
        "sin(phi)",
        "cos(phi)",
        "particle=0",
        "particle=1",
        "particle=2",
        "log|momentum|",
        "momentum[px/pz]",
        "momentum[py/pz]",
        "spot[0]",
        "spot[1]",
    )


def test_a_fresh_encoder_is_filled_from_a_file() -> None:
    encoder = FeatureEncoder(ALL, SCHEMA).fit(sample())
    fresh = FeatureEncoder(ALL, SCHEMA)
    fresh.load_state_dict(safetensors.torch.load(safetensors.torch.save(encoder.state_dict())))
    other = sample(50, seed=2)
    assert torch.equal(fresh(other), encoder(other))


def test_signed_weights_count() -> None:
    c, background = sample(), {k: v * 2 if v.is_floating_point() else v for k, v in sample(40, seed=2).items()}
    both = {k: torch.cat([c[k], background[k], background[k]]) for k in c}
    weights = torch.cat([torch.ones(200), torch.ones(40), -torch.ones(40)])
    torch.testing.assert_close(FeatureEncoder(ALL, SCHEMA).fit(both, weights)(c), FeatureEncoder(ALL, SCHEMA).fit(c)(c))
    twice = {k: torch.cat([v, v[:50]]) for k, v in c.items()}
    weights = torch.ones(200)
    weights[:50] = 2
    torch.testing.assert_close(FeatureEncoder(ALL, SCHEMA).fit(c, weights)(c), FeatureEncoder(ALL, SCHEMA).fit(twice)(c))


@pytest.mark.parametrize("encoding", ["log", "standardise"])
@pytest.mark.parametrize("energy", [0.1, 50_000.3, 3e7])
def test_a_constant_condition_gives_zero(encoding: str, energy: float) -> None:
    c = {"incident_energy": torch.full((777,), energy)}
    features = FeatureEncoder({"incident_energy": encoding}, SCHEMA).fit(c)(c)
    torch.testing.assert_close(features, torch.zeros(777, 1), rtol=0, atol=1e-9)


def test_conditions_far_outside_stay_finite() -> None:
    encoder = FeatureEncoder(ALL, SCHEMA).fit(sample())
    c = {k: torch.zeros_like(v) for k, v in sample().items()}
    c["momentum"] = -sample()["momentum"]
    c["incident_energy"] = -sample()["incident_energy"]
    assert bool(encoder(c).isfinite().all())
    assert torch.equal(encoder({**sample(), "particle": torch.full((200,), 7)})[:, 4:7], torch.zeros(200, 3))


def test_period_may_be_given_in_the_recipe() -> None:
    c = {"eta": torch.tensor([0.0, 0.1, 0.2, 0.4])}
    features = FeatureEncoder({"eta": "periodic:0.4"}, SCHEMA).fit(c)(c)
    torch.testing.assert_close(features, torch.tensor([[0.0, 1], [1, 0], [0, -1], [0, 1]]), atol=1e-6, rtol=0)


def test_lives_where_the_module_lives() -> None:
    encoder = FeatureEncoder(ALL, SCHEMA).fit(sample()).to("meta")
    assert encoder({k: v.to("meta") for k, v in sample().items()}).device.type == "meta"


class Inputs(nn.Module):
    def __init__(self, encoder: FeatureEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, e: Tensor, eta: Tensor, phi: Tensor, particle: Tensor, momentum: Tensor, spot: Tensor) -> Tensor:
        values = (e, eta, phi, particle, momentum, spot)
        features: Tensor = self.encoder(dict(zip(ALL, values, strict=True)))
        return features


def test_the_exported_encoder_agrees() -> None:
    module = Inputs(FeatureEncoder(ALL, SCHEMA).fit(sample())).eval()
    values = tuple(sample().values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(v[:5] for v in values),
            dynamo=True,
            optimize=False,
            verbose=False,
            dynamic_shapes=tuple({0: "n"} for _ in values),
        )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, (v.numpy() for v in values), strict=True)))
    np.testing.assert_allclose(found, module(*values).numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("encodings", "message"),
    [
        ({}, "name at least one of incident_energy, eta"),
        ({"energy": "log"}, "unknown condition 'energy' to encode; these events have incident_energy"),
        ({"eta": "whiten"}, "unknown encoding 'whiten' of 'eta'; choose one of standardise, absolute, log, log1p, layers"),
        ({"particle": "one-hot"}, "needs the number of categories, as in one-hot:5"),
        ({"particle": "one-hot:0"}, "needs the number of categories"),
        ({"spot": "one-hot:2"}, "one-hot needs one category per event, but 'spot'"),
        ({"eta": "periodic"}, "needs a positive period"),
        ({"eta": "periodic:turn"}, "needs a positive period"),
        ({"eta": "harmonics"}, "needs a period above 0 and how many harmonics"),
        ({"eta": "harmonics:0.4"}, "needs a period above 0 and how many harmonics"),
        ({"eta": "harmonics:-1,3"}, "needs a period above 0 and how many harmonics"),
        ({"eta": "harmonics:0.4,99"}, "1 to 32"),
        ({"eta": "log:2"}, "takes no argument, found '2'"),
        ({"eta": "log1p"}, "log1p of 'eta' needs its shift, a number above 0, as in log1p:30, found ''"),
        ({"eta": "log1p:-3"}, "needs its shift, a number above 0"),
        ({"eta": "log1p:inf"}, "needs its shift, a number above 0"),
        ({"eta": "layers:30"}, "layers of 'eta' needs a shift above 0 .MeV. and the condition that is the incident energy"),
        ({"eta": "layers:0,energy"}, "needs a shift above 0"),
        ({"eta": "layers:30,nothing"}, "compares it with one number per event, but 'nothing' is none; these events have"),
        ({"eta": "log1p:much"}, "needs its shift, a number above 0"),
        ({"spot": "direction"}, "direction needs a momentum"),
        ({"face": "standardise"}, "'face' is image and cannot be encoded by 'standardise'; choose box-cox:SHIFT or raw"),
        ({"face": "box-cox"}, "box-cox of 'face' needs its shift, an energy above 0, as in box-cox:0.1, and.*found ''"),
        ({"face": "box-cox:-1"}, "needs its shift"),
        ({"face": "box-cox:1,3"}, "optionally a power from -2 to 2"),
        ({"face": "box-cox:1,half"}, "optionally a power from -2 to 2"),
    ],
)
def test_wrong_encodings_are_refused(encodings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureEncoder(encodings, SCHEMA)


@pytest.mark.parametrize(
    ("encodings", "change", "message"),
    [
        ({"incident_energy": "log"}, {"incident_energy": torch.tensor([1.0, 0.0])}, "'incident_energy' holds values of 0"),
        ({"momentum": "direction"}, {"momentum": torch.tensor([[0.0, 0, 5], [0, 0, -5]])}, "'momentum' holds pz of -5"),
        ({"particle": "one-hot:2"}, {"particle": torch.tensor([0, 2])}, "holds categories 0 to 2 where one-hot:2 allows 0 to 1"),
        ({"eta": "standardise"}, {"eta": torch.tensor([0.0, math.nan])}, "'eta' holds NaN"),
        ({"eta": "standardise"}, {"eta": torch.zeros(0)}, "zero events"),
        ({"face": "box-cox:1"}, {"face": -torch.ones(3, 4, 4)}, "'face' holds -1, and energies of cells are not negative"),
    ],
)
def test_wrong_training_samples_are_refused(encodings: dict[str, str], change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureEncoder(encodings, SCHEMA).fit(change)


def test_weights_have_to_make_sense() -> None:
    c = {"eta": torch.rand(10)}
    with pytest.raises(ValueError, match="the weights sum to -10"):
        FeatureEncoder({"eta": "standardise"}, SCHEMA).fit(c, -torch.ones(10))
    with pytest.raises(ValueError, match="the weights have shape"):
        FeatureEncoder({"eta": "standardise"}, SCHEMA).fit(c, torch.ones(3))


def test_unfitted_use_and_missing_conditions_raise() -> None:
    encoder = FeatureEncoder({"eta": "standardise"}, SCHEMA)
    with pytest.raises(RuntimeError, match="FeatureEncoder was used before it was fitted"):
        encoder({"eta": torch.rand(3)})
    with pytest.raises(KeyError, match="the condition 'eta' is missing"):
        encoder.fit({"eta": torch.rand(3)})({"phi": torch.rand(3)})


def test_an_image_keeps_its_zeros_and_its_power_is_that_of_the_cells_that_are_not_empty() -> None:
    g = torch.Generator().manual_seed(4)
    face = torch.where(torch.rand(300, 4, 4, generator=g) < 0.9, 0.0, torch.exp(torch.randn(300, 4, 4, generator=g)))
    encoder = FeatureEncoder({"face": "box-cox:0.1"}, SCHEMA).fit({"face": face})
    values = encoder({"face": face})
    positive = face[face > 0]
    power = fit_power(np.log1p(positive.double().numpy() / 0.1), np.ones(len(positive)))
    assert float(encoder.floor[0]) == pytest.approx(power, abs=1e-4)
    torch.testing.assert_close(values, (((1 + face / 0.1) ** power - 1) / power).reshape(300, 16), rtol=2e-5, atol=1e-6)
    assert torch.equal(values == 0, face.reshape(300, 16) == 0)
    logarithm = FeatureEncoder({"face": "box-cox:0.1,0"}, SCHEMA).fit({"face": face})({"face": face})
    torch.testing.assert_close(logarithm, (1 + face / 0.1).log().reshape(300, 16), rtol=2e-5, atol=1e-6)
    x = face.clone().requires_grad_()
    encoder({"face": x}).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_a_logarithm_above_a_shift_takes_zeros() -> None:
    schema = Schema((Block("layer_energies", "MeV", shape=(2,), columns=("front", "back")),))
    values = torch.tensor([[0.0, 5e4], [30.0, 0.0], [300.0, 7.0], [0.0, 90.0]])
    encoder = FeatureEncoder({"layer_energies": "log1p:30"}, schema).fit({"layer_energies": values})
    assert encoder.names == ("log1p(layer_energies[front])", "log1p(layer_energies[back])")
    expected = []
    for column in values.T.tolist():
        logs = [math.log(1 + x / 30) for x in column]
        mean = sum(logs) / 4
        width = math.sqrt(sum((v - mean) ** 2 for v in logs) / 4)
        expected.append([(v - mean) / width for v in logs])
    torch.testing.assert_close(encoder({"layer_energies": values}), torch.tensor(expected).T, rtol=1e-4, atol=1e-5)
    below = encoder({"layer_energies": torch.tensor([[-5.0, -1.0]])})
    torch.testing.assert_close(below, encoder({"layer_energies": torch.zeros(1, 2)}))


def test_energies_of_layers_are_logarithms_shares_and_the_response_in_its_own_spread() -> None:
    schema = Schema(
        (Block("incident_energy", "MeV", minimum=0), Block("layer_energies", "MeV", shape=(2,), columns=("front", "back")))
    )
    g = torch.Generator().manual_seed(5)
    energy = 10 ** (3 + torch.rand(400, generator=g))
    response = 1 + 0.1 * torch.randn(400, generator=g) / (energy / 1000).sqrt()
    share = torch.rand(400, generator=g)
    values = torch.stack([energy * response * share, energy * response * (1 - share)], 1)
    known = {"incident_energy": energy, "layer_energies": values}
    encoder = FeatureEncoder({"layer_energies": "layers:30,incident_energy"}, schema).fit(known)
    assert encoder.names[-3:] == ("share(layer_energies[front])", "share(layer_energies[back])", "response(layer_energies)")
    found = encoder(known).double()
    plain = torch.stack([(1 + values[:, 0] / 30).log(), share, (response - 1) * (energy / 1000).sqrt()], 1).double()
    expected = (plain - plain.mean(0)) / plain.std(0, correction=0)
    torch.testing.assert_close(found[:, [0, 2, 4]], expected, rtol=1e-3, atol=1e-3)
    low, high = energy < 2000, energy > 5000
    assert 0.85 < float(found[low, 4].std() / found[high, 4].std()) < 1.15  # a standard deviation is as large at any energy
    nothing = {"incident_energy": energy[:1], "layer_energies": torch.zeros(1, 2)}
    assert bool(encoder(nothing).isfinite().all())
    whole = Schema((schema.conditions[0], Block("total_energy", "MeV", derived=True)))
    assert FeatureEncoder({"total_energy": "layers:30,incident_energy"}, whole).names == (
        "log1p(total_energy)",
        "response(total_energy)",
    )


def test_harmonics_are_the_value_and_waves_of_the_cell() -> None:
    c = sample()
    encoder = FeatureEncoder({"eta": "harmonics:0.4,3"}, SCHEMA).fit(c)
    eta = c["eta"].double()
    waves = [f(2 * math.pi * k * eta / 0.4) for k in (1, 2, 3) for f in (torch.sin, torch.cos)]
    plain = torch.stack([eta, *waves], 1)
    expected = (plain - plain.mean(0)) / plain.std(0, correction=0)
    torch.testing.assert_close(encoder(c).double(), expected, rtol=1e-5, atol=1e-5)
    assert encoder.names == ("eta", "sin(1 eta)", "cos(1 eta)", "sin(2 eta)", "cos(2 eta)", "sin(3 eta)", "cos(3 eta)")
