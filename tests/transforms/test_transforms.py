"""Each transform against its equation, written slowly, and against scipy where it has the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from understudy import registry
from understudy.geometry import Calorimeter, Layer, builtin
from understudy.schema import Array, Block, Schema
from understudy.transforms.box_cox import BoxCox, fit_power, log_likelihood
from understudy.transforms.divide import DivideByEnergy
from understudy.transforms.layer_fractions import LayerFractions
from understudy.transforms.log import Log
from understudy.transforms.logit import Logit
from understudy.transforms.moments import mean_and_scale
from understudy.transforms.standardise import Standardise

SCHEMA = Schema((Block("incident_energy", "MeV"), Block("momentum", "MeV", shape=(3,))), (Block("cells", "MeV", shape=(9,)),))
THREE_LAYERS = Calorimeter(
    "three", tuple(Layer.grid(name, cells, (1, 1), (0, 0)) for name, cells in {"a": (2, 1), "b": (2, 2), "c": (3, 1)}.items())
)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


# moments


def test_moments_are_numpys_in_double_precision() -> None:
    x = rng().normal(1e4, 1.0, (500, 300)).astype(np.float32)
    w = rng(2).uniform(0, 2, 500)
    mean, scale = mean_and_scale(torch.from_numpy(x), torch.from_numpy(w))
    expected = np.average(x.astype(float), axis=0, weights=w)
    np.testing.assert_allclose(mean, expected, rtol=1e-12)
    np.testing.assert_allclose(scale, np.sqrt(np.average((x - expected) ** 2, axis=0, weights=w)), rtol=1e-10)


def test_a_negative_variance_falls_back_on_absolute_weights() -> None:
    x = torch.tensor([[0.0], [0.0], [10.0]])
    mean, scale = mean_and_scale(x, torch.tensor([1.0, 1.0, -0.5]))
    assert float(mean) == pytest.approx(-10 / 3)
    assert float(scale) == pytest.approx(math.sqrt((2 * (10 / 3) ** 2 + 0.5 * (40 / 3) ** 2) / 2.5))


def test_standardise_leaves_mean_0_and_deviation_1_and_0_without_spread() -> None:
    x = torch.from_numpy(rng().lognormal(3, 1, (1000, 4)).astype(np.float32))
    x[:, 3] = 1234.567
    y = Standardise().fit(x, {})(x, {})
    torch.testing.assert_close(y.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(0, correction=0), torch.tensor([1.0, 1, 1, 0]), atol=1e-5, rtol=0)
    together = Standardise(per="all").fit(x, {})
    assert together.mean.shape == (1,)
    assert float(together.mean) == pytest.approx(float(x.double().mean()), rel=1e-6)
    assert float(together.scale) == pytest.approx(float(x.double().std(correction=0)), rel=1e-6)


# log, logit


def test_log_is_the_logarithm_of_x_plus_shift_up_to_a_constant() -> None:
    x = torch.tensor([[0.0, 1e-3, 1.0, 1e5]])
    y = Log(shift=0.5).fit(x, {})(x, {})
    np.testing.assert_allclose(y, np.log(x.double().numpy() + 0.5) - math.log(0.5), rtol=1e-6)
    assert float(y[0, 0]) == 0
    assert float(Log(shift=0.5).fit(x, {}).inverse(y, {})[0, 0]) == 0
    np.testing.assert_allclose(Log(shift=0).fit(x[:, 1:], {})(x[:, 1:], {}), np.log(x[:, 1:].numpy()), rtol=1e-6)


@pytest.mark.parametrize(("shift", "lowest"), [(0.0, 0.0), (1.0, -1.0), (1.0, -5.0), (1.0, math.nan)])
def test_log_refuses_what_has_no_logarithm(shift: float, lowest: float) -> None:
    with pytest.raises(ValueError, match="choose a larger shift"):
        Log(shift).fit(torch.tensor([[lowest], [3.0]]), {})


def test_logit_is_that_of_squeezed_fractions() -> None:
    x = torch.tensor([[0.0, 1e-5, 0.3, 0.5, 0.999, 1.0]])
    u = 1e-6 + (1 - 2e-6) * x.double()
    y = Logit().fit(x, {})(x, {})
    np.testing.assert_allclose(y, scipy.special.logit(u.numpy()), rtol=1e-5, atol=1e-7)
    assert float(Logit().fit(x, {})(torch.tensor([[-3.0]]), {})) == float(y[0, 0])


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_logit_refuses_what_is_no_fraction(bad: float) -> None:
    with pytest.raises(ValueError, match="only to fractions from 0 to 1"):
        Logit().fit(torch.tensor([[0.5], [bad]]), {})


# Box-Cox


def test_box_cox_is_scipys_with_its_likelihood() -> None:
    x = rng().gamma(2.0, 3.0, 2000)
    t = 1 + x / 0.1
    ones = np.ones(2000)
    for power in (-1.0, 0.0, 0.3, 2.0):
        mine, scipys = log_likelihood(power, np.log(t), ones), scipy.stats.boxcox_llf(power, t)
        assert mine == pytest.approx(float(scipys), rel=1e-9)
    expected, best = scipy.stats.boxcox(t)
    assert fit_power(np.log(t), ones) == pytest.approx(best, abs=1e-4)
    values = torch.tensor(x, dtype=torch.float32)[:, None]
    transform = BoxCox(shift=0.1).fit(values, {})
    np.testing.assert_allclose(transform(values, {})[:, 0], expected, rtol=2e-3)
    fixed = BoxCox(shift=0.1, power=float(transform.power)).fit(values, {})
    np.testing.assert_allclose(fixed(values, {})[:, 0], scipy.special.boxcox1p(x / 0.1, float(transform.power)), rtol=1e-5)


def test_the_weighted_likelihood_is_the_sum_over_events() -> None:
    log_t, w = np.log(rng().gamma(2.0, 3.0, 50) + 1), rng(2).uniform(-0.2, 2, 50)

    def by_hand(power: float) -> float:
        y = [(math.exp(power * v) - 1) / power for v in log_t]
        total = sum(w)
        mean = sum(a * b for a, b in zip(w, y, strict=True)) / total
        variance = sum(a * (b - mean) ** 2 for a, b in zip(w, y, strict=True)) / total
        normal = sum(a * (-0.5 * math.log(variance) - (b - mean) ** 2 / (2 * variance)) for a, b in zip(w, y, strict=True))
        jacobian = sum(a * (power - 1) * v for a, v in zip(w, log_t, strict=True))
        return float(normal + jacobian + 0.5 * total)

    for power in (-0.5, 0.2, 1.5):
        assert log_likelihood(power, log_t, w) == pytest.approx(by_hand(power), rel=1e-10)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.5])
def test_box_cox_finds_the_power_that_was_planted(power: float) -> None:
    """The likelihood of the planted power is within three standard deviations of the best one."""
    normal = rng().normal(5, 1.0, (5000, 1))
    t = np.exp(normal) if power == 0 else (power * normal + 1) ** (1 / power)
    fitted = float(BoxCox(shift=2.0).fit(torch.tensor(2.0 * (t - 1), dtype=torch.float32), {}).power)
    best, planted = (log_likelihood(p, np.log(t.ravel()), np.ones(5000)) for p in (fitted, power))
    assert -1e-3 < 2 * (best - planted) < 9
    assert fitted == pytest.approx(power, abs=0.3)


def test_box_cox_per_component_fits_each_column_alone() -> None:
    x = torch.tensor(np.stack([rng().gamma(2, 1, 300), rng(2).normal(50, 1, 300), np.zeros(300)], 1), dtype=torch.float32)
    powers = BoxCox(per="component").fit(x, {}).power
    for i in range(2):
        assert float(powers[i]) == pytest.approx(float(BoxCox().fit(x[:, i : i + 1], {}).power), abs=1e-5)
    assert float(powers[2]) == 1.0


def test_box_cox_refuses_what_has_no_power() -> None:
    with pytest.raises(ValueError, match="box-cox with shift 1 cannot be fitted to a response that holds -1"):
        BoxCox().fit(torch.tensor([[-1.0], [3.0]]), {})


# energies


def test_divide_by_energy_and_zero_energy() -> None:
    c = {"incident_energy": torch.tensor([10.0, 0.0])}
    x = torch.tensor([[5.0, 20.0], [0.0, 0.0]])
    transform = DivideByEnergy(SCHEMA, scale=0.5).fit(x, c)
    assert torch.equal(transform(x, c), torch.tensor([[1.0, 4.0], [0.0, 0.0]]))
    assert torch.equal(transform.inverse(torch.ones(2, 2), c), torch.tensor([[5.0, 5.0], [0.0, 0.0]]))


@pytest.mark.parametrize("by", ["momentum", "energy"])
def test_divide_by_energy_needs_one_number_per_event(by: str) -> None:
    with pytest.raises(ValueError, match=f"no condition '{by}' with one number per event; there are incident_energy"):
        DivideByEnergy(SCHEMA, by=by)


def test_a_negative_energy_is_refused() -> None:
    with pytest.raises(ValueError, match="'incident_energy' holds -1, which is no energy"):
        DivideByEnergy(SCHEMA).fit(torch.ones(2, 3), {"incident_energy": torch.tensor([3.0, -1.0])})


def fractions_by_hand(cells: Array, incident: float, scale: float, geometry: Calorimeter) -> list[float]:
    """One shower, layer by layer, as the equations say."""
    layers = [list(cells[s]) for s in geometry.slices.values()]
    energies = [sum(layer) for layer in layers]
    out = [x / e if e > 0 else 0.0 for layer, e in zip(layers, energies, strict=True) for x in layer]
    out.append(sum(energies) / (scale * incident) if incident > 0 else 0.0)
    for i in range(1, len(layers)):
        rest = sum(energies[i - 1 :])
        out.append(energies[i - 1] / rest if rest > 0 else 0.0)
    return out


def showers() -> tuple[Tensor, Tensor]:
    x = rng().gamma(0.5, 100.0, (40, 9))
    x[rng(2).random((40, 9)) < 0.4] = 0
    x[0], x[1, :2], x[2, 2:6], x[3, 6:], x[4, :6] = 0, 0, 0, 0, 0
    incident = x.sum(1) * 1.3
    return torch.tensor(x, dtype=torch.float32), torch.tensor(incident, dtype=torch.float32)


def test_layer_fractions_follow_their_equations() -> None:
    x, incident = showers()
    c = {"incident_energy": incident}
    transform = LayerFractions(THREE_LAYERS, SCHEMA, scale=2.0).fit(x, c)
    expected = [fractions_by_hand(s.double().numpy(), float(e), 2.0, THREE_LAYERS) for s, e in zip(x, incident, strict=True)]
    np.testing.assert_allclose(transform(x, c), expected, rtol=2e-6, atol=1e-7)


def test_layer_fractions_give_energies_whatever_the_model_says() -> None:
    x, incident = showers()
    c = {"incident_energy": incident}
    transform = LayerFractions(THREE_LAYERS, SCHEMA).fit(x, c)
    y = 0.5 + torch.randn(40, 12, generator=torch.Generator().manual_seed(1))
    y[:, 0] = 1.0
    y[:, 2] = 1.0
    y[:, 6] = 1.0
    energies = transform.inverse(y, c)
    assert float(energies.min()) >= 0
    torch.testing.assert_close(energies.sum(1), y[:, 9].clamp(min=0) * incident, rtol=1e-5, atol=1e-3)


def test_layer_fractions_refuse_what_does_not_fit() -> None:
    x, incident = showers()
    with pytest.raises(ValueError, match="name its geometry"):
        LayerFractions(None, SCHEMA)
    with pytest.raises(ValueError, match="no condition 'energy'"):
        LayerFractions(THREE_LAYERS, SCHEMA, by="energy")
    with pytest.raises(ValueError, match="has 9 cells per event where geometry 'atlas-em-89' has 89"):
        LayerFractions(builtin("atlas-em-89"), SCHEMA).fit(x, {"incident_energy": incident})
    with pytest.raises(ValueError, match="cells with -1 MeV"):
        LayerFractions(THREE_LAYERS, SCHEMA).fit(torch.where(x == x.max(), -1.0, x), {"incident_energy": incident})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "logs"}, "did you mean 'log'"),
        ({"kind": "log", "offset": 1.0}, "unknown key 'offset'"),
        ({"kind": "log", "shift": -1.0}, "greater than or equal to 0"),
        ({"kind": "logit", "alpha": 0.5}, "less than 0.5"),
        ({"kind": "box-cox", "shift": 0.0}, "greater than 0"),
        ({"kind": "box-cox", "power": 3.0}, "less than or equal to 2"),
        ({"kind": "standardise", "per": "cell"}, "'component' or 'all'"),
        ({"kind": "divide-by-energy", "scale": 0.0}, "greater than 0"),
        ({"kind": "layer-fractions", "scale": -1.0}, "greater than 0"),
    ],
)
def test_wrong_recipes_are_refused(spec: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.factory("transforms", spec, "model.transforms[0]")


@pytest.mark.parametrize(
    "build",
    [
        lambda: Log(-1.0),
        lambda: Logit(0.0),
        lambda: BoxCox(0.0),
        lambda: BoxCox(power=2.5),
        lambda: DivideByEnergy(SCHEMA, scale=math.inf),
        lambda: LayerFractions(THREE_LAYERS, SCHEMA, scale=0.0),
    ],
)
def test_wrong_arguments_are_refused_in_python_too(build: object) -> None:
    with pytest.raises(ValueError, match=r"above 0|of 0 or more|from -2 to 2"):
        build()  # type: ignore[operator]
