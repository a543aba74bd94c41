import numpy as np
import pytest

from understudy.events import Block, Events, Schema
from understudy.validation.observables import observables_for
from understudy.validation.observables_closure import closure_curves, predicted, residuals

MOMENTUM = Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz"))
GIVEN = (Block("incident_energy", "MeV"), MOMENTUM, Block("position", "mm", shape=(2,), columns=("x", "y")))
CELLS = (Block("track", "ns"),)


def schema(*names, width=None):
    known = {b.name: b for b in GIVEN}
    aux = tuple(Block(f"predicted_{n}", known[n].unit, shape=known[n].shape if width is None else width) for n in names)
    return Schema(GIVEN, CELLS, aux)


def toy(n=6000, seed=1, bias=0.0, spread=0.05, names=("incident_energy", "momentum", "position")):
    generator = np.random.default_rng(seed)
    energy = generator.uniform(1e3, 6e4, n)
    unit = generator.normal(size=(n, 3))
    given = {
        "incident_energy": energy,
        "momentum": energy[:, None] * unit / np.linalg.norm(unit, axis=1)[:, None],
        "position": generator.uniform(-5, 5, (n, 2)),
    }
    size = {"incident_energy": energy, "momentum": energy[:, None], "position": 1.0}
    aux = {f"predicted_{k}": given[k] + size[k] * (bias + spread * generator.normal(size=np.shape(given[k]))) for k in names}
    return Events(schema(*names), given, {"track": np.ones(n)}, aux=aux)


def test_residuals_by_hand():
    events = toy(5)
    values = {o.name: (o(events), o.unit) for o in residuals([events.schema])}
    assert set(values) == {
        "residual_incident_energy",
        *(f"residual_momentum_p{c}" for c in "xyz"),
        "residual_position_x",
        "residual_position_y",
    }
    p, made = events["momentum"].astype(float), events["predicted_momentum"].astype(float)
    for i in range(5):
        assert values["residual_momentum_py"][0][i] == pytest.approx((made[i, 1] - p[i, 1]) / (p[i] ** 2).sum() ** 0.5)
        assert values["residual_position_x"][0][i] == pytest.approx(
            events["predicted_position"][i, 0] - events["position"][i, 0], abs=1e-6
        )
    assert values["residual_position_x"][1] == "mm"
    assert values["residual_momentum_pz"][1] == ""


def test_only_what_all_samples_have():
    full, part, bare = schema("momentum", "position"), schema("position"), schema()
    assert [o.name for o in residuals([full, part])] == ["residual_position_x", "residual_position_y"]
    assert residuals([full, bare]) == ()
    assert residuals([]) == ()


def test_observables_for_judges_and_scores_do_not_change():
    names = [o.name for o in observables_for(schema("momentum"))]
    assert names == [o.name for o in observables_for(schema())]


def test_a_prediction_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="'predicted_momentum' has 2 columns in MeV where the condition 'momentum' has 3"):
        predicted(schema("momentum", width=(2,)))


def test_curves_show_bias_and_widths():
    events = toy(bias=0.01, spread=0.05)
    found = residuals([events.schema])
    edges = np.array([1e3, 1e4, 3e4, 6e4])
    values = {o.name: o(events) for o in found}
    made = closure_curves(events["incident_energy"], values, found, edges, np.random.default_rng(1), paired=True)
    curves = {c.name: c for c in made}
    assert len(curves) == 3 * len(found)
    bias = curves["residual_momentum_px_bias_vs_energy"]
    assert np.abs((bias.y - 0.01) / bias.error).max() < 4
    assert bias.influence.shape == (6000, 3)
    for kind in ("rms", "68"):
        line = curves[f"residual_position_y_{kind}_vs_energy"]
        assert line.unit == "mm"
        np.testing.assert_allclose(line.y, 0.05, rtol=0.12)
        assert (line.error > 0).all()
