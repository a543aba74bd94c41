import math

import numpy as np
import pytest

from understudy.events import Block, Events, Schema
from understudy.geometry import Calorimeter, Layer, builtin
from understudy.validation import calorimeter as shower
from understudy.validation.direction import planar
from understudy.validation.observables import (
    Observable,
    energy_block,
    evaluate,
    incident_energy,
    observables_for,
    shower_block,
)


def showers(cells, incident=None, mask=None):
    cells = np.asarray(cells, np.float32)
    incident = np.full(len(cells), 1000.0) if incident is None else incident
    schema = Schema((Block("incident_energies", "MeV", shape=(1,)),), (Block("showers", "MeV", shape=(cells.shape[1],)),))
    return Events(schema, {"incident_energies": incident}, {"showers": cells}, mask=mask)


def random_cells(geometry, n=12, seed=1):
    generator = np.random.default_rng(seed)
    cells = generator.gamma(0.3, 20.0, (n, geometry.n_cells)) * (generator.random((n, geometry.n_cells)) < 0.6)
    cells[0] = 0.0  # an empty shower
    cells[1, geometry.slices[geometry.layer_names[-1]]] = 0.0  # and one whose last layer is empty
    return cells.astype(np.float32)


def slow_layer(energies, layer, total, threshold):
    """One layer of one shower, term by term."""
    out = {}
    layer_sum = sum(float(e) for e in energies)
    out["energy"] = layer_sum
    out["fraction"] = layer_sum / total if total > 0 else math.nan
    out["hits"] = float(sum(e > threshold for e in energies))
    out["max_fraction"] = max(float(e) for e in energies) / layer_sum if layer_sum > 0 else math.nan
    for axis, name in enumerate(layer.axes):
        if layer_sum <= 0:
            out[f"mean_{name}"] = out[f"width_{name}"] = math.nan
            continue
        mean = sum(float(e) * c[axis] for e, c in zip(energies, layer.centres, strict=True)) / layer_sum
        variance = sum(float(e) * (c[axis] - mean) ** 2 for e, c in zip(energies, layer.centres, strict=True)) / layer_sum
        out[f"mean_{name}"], out[f"width_{name}"] = mean, math.sqrt(variance)
    if min(layer.shape) >= 3:
        image = np.asarray(energies, float).reshape(layer.shape)
        odd = all(k % 2 for k in layer.shape)
        row, column = (k // 2 for k in layer.shape) if odd else np.unravel_index(image.argmax(), layer.shape)
        core = 0.0
        for i in range(row - 1, row + 2):
            for j in range(column - 1, column + 2):
                if 0 <= i < layer.shape[0] and 0 <= j < layer.shape[1]:
                    core += image[i, j]
        out["core_fraction"] = core / layer_sum if layer_sum > 0 else math.nan
    return out


def slow_radii(energies, layer):
    """Radii that hold 68 and 90 % by bisection, each cell spread evenly over a ring as wide as a cell is."""
    total = sum(float(e) for e in energies)
    if total <= 0:
        return {"radius_68": math.nan, "radius_90": math.nan}
    x, y = (sum(float(e) * c[i] for e, c in zip(energies, layer.centres, strict=True)) / total for i in (0, 1))
    cells = [(float(e), math.hypot(cx - x, cy - y)) for e, (cx, cy) in zip(energies, layer.centres, strict=True) if e > 0]

    def held(radius):
        shares = (((radius**2 - max(r - 10, 0) ** 2) / ((r + 10) ** 2 - max(r - 10, 0) ** 2), e) for e, r in cells)
        return sum(e * min(max(share, 0.0), 1.0) for share, e in shares) / total

    found = {}
    for name, part in (("radius_68", 0.68), ("radius_90", 0.9)):
        low, high = 0.0, 1000.0
        for _ in range(40):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if held(middle) < part else (low, middle)
        found[name] = low
    return found


@pytest.mark.parametrize("name", ["atlas-em-89", "atlas-em-247", "lhcb-ecal"])
def test_agree_with_slow_twin(name):
    geometry = builtin(name)
    cells = random_cells(geometry)
    incident = np.linspace(500, 5000, len(cells))
    values = evaluate(showers(cells, incident), geometry)
    seen = set()
    for event, row in enumerate(cells):
        total = sum(float(e) for e in row)
        expected = {
            "total_energy": total,
            "response": total / incident[event],
            "max_cell": max(float(e) for e in row),
            "zero_fraction": sum(e <= 0 for e in row) / len(row),
        }
        if len(geometry.layers) > 1:
            sums = [sum(float(e) for e in row[s]) for s in geometry.slices.values()]
            depth = sum(i * e for i, e in enumerate(sums)) / total if total else math.nan
            spread = sum((i - depth) ** 2 * e for i, e in enumerate(sums)) / total if total else math.nan
            expected |= {"depth": depth, "depth_width": math.sqrt(spread) if total else math.nan}
        for layer in geometry.layers:
            numbers = slow_layer(row[geometry.slices[layer.name]], layer, total, 1.0)
            alone = {"energy", "fraction"} if len(geometry.layers) == 1 else set()
            expected |= {f"{k}_{layer.name}": v for k, v in numbers.items() if k not in alone}
            if planar(layer):
                assert len(geometry.layers) == 1
                expected |= slow_radii(row, layer)
        for key, number in expected.items():
            rounding = 1.0 if key.startswith("radius_") else 1e-7  # distances are rounded to an eighth of a cell of 20 mm
            np.testing.assert_allclose(values[key][event], number, rtol=1e-5, atol=rounding, err_msg=key)
        seen |= set(expected)
    assert seen == set(values)


def test_names_of_the_paper_cluster_are_stable():
    geometry = builtin("atlas-em-89")
    found = {o.name: o.unit for o in observables_for(showers(np.ones((1, 89))).schema, geometry)}
    assert len(found) == 39
    expected = {
        "total_energy": "MeV",
        "response": "",
        "energy_middle": "MeV",
        "fraction_strips": "",
        "mean_eta_strips": "",
        "mean_phi_back": "rad",
        "width_phi_middle": "rad",
        "core_fraction_middle": "",
    }
    assert expected.items() <= found.items()
    assert [name for name in found if name.startswith("core_fraction")] == ["core_fraction_middle"]


def test_one_cell_and_two_cells():
    geometry = builtin("atlas-em-89")
    middle = geometry.slices["middle"].start
    cells = np.zeros((2, 89))
    cells[0, middle + 10] = 50.0  # the central cell
    cells[1, middle + 9] = cells[1, middle + 11] = 25.0  # its neighbours along phi
    values = evaluate(showers(cells), geometry)
    dphi = 2 * math.pi / 256
    np.testing.assert_allclose(values["mean_eta_middle"], 0.0125)
    np.testing.assert_allclose(values["mean_phi_middle"], dphi / 2)
    np.testing.assert_allclose(values["width_phi_middle"], [0.0, dphi], atol=1e-12)
    np.testing.assert_allclose(values["width_eta_middle"], 0.0, atol=1e-9)
    np.testing.assert_allclose(values["core_fraction_middle"], 1.0)
    np.testing.assert_allclose(values["response"], 0.05)
    assert np.isnan(values["mean_eta_strips"]).all()


def test_core_of_a_flat_layer_and_at_the_border():
    layer = builtin("atlas-em-89").layer("middle")
    np.testing.assert_allclose(shower.core_fraction(np.ones((3, 21)), layer), 9 / 21)
    ecal = builtin("lhcb-ecal").layers[0]
    corner = np.ones((1, 900))
    corner[0, 0] = 2.0
    np.testing.assert_allclose(shower.core_fraction(corner, ecal), 5 / 901)


def polar(n_alpha, r_edges=(0.0, 10.0, 30.0)):
    alpha = tuple(np.linspace(-math.pi, math.pi, n_alpha + 1))
    return Layer("layer_0", (alpha, r_edges), ("alpha", "r"), ("rad", "mm"), "polar")


def test_polar_layers_use_cartesian_centres():
    layer = polar(8)
    geometry = Calorimeter("polar", (layer,))
    cells = np.vstack([np.ones(16), np.eye(16)[3]])
    values = evaluate(showers(cells), geometry)
    np.testing.assert_allclose(values["mean_x_layer_0"], [0.0, layer.cartesian[3, 0]], atol=1e-12)
    np.testing.assert_allclose(values["mean_y_layer_0"], [0.0, layer.cartesian[3, 1]], atol=1e-12)
    rms = math.sqrt((5.0**2 + 20.0**2) / 2 / 2)  # half of the mean r^2 along each axis
    np.testing.assert_allclose(values["width_x_layer_0"], [rms, 0.0], atol=1e-6)
    assert not any(name.startswith("core_fraction") for name in values)


def test_a_ring_of_one_cell_has_only_a_radius():
    values = evaluate(showers([[1.0, 3.0]]), Calorimeter("rings", (polar(1),)))
    np.testing.assert_allclose(values["mean_r_layer_0"], [(5.0 + 3 * 20.0) / 4])
    assert "mean_x_layer_0" not in values


def test_energy_condition_is_the_incident_one():
    blocks = (
        Block("total_energy", "MeV", derived=True),
        Block("energy", "MeV"),
        Block("incident_energy", "MeV"),
        Block("x", "mm"),
    )
    assert energy_block(Schema(blocks)).name == "incident_energy"
    assert energy_block(Schema(blocks[:2])).name == "energy"
    assert energy_block(Schema(blocks[:1])) is None
    only_derived = Events(
        Schema(blocks[:1], (Block("showers", "MeV", shape=(89,)),)), {"total_energy": [5.0]}, {"showers": np.ones((1, 89))}
    )
    assert incident_energy(only_derived) is None
    assert "response" not in evaluate(only_derived, builtin("atlas-em-89"))


def test_columns_of_a_table_and_undetected_particles():
    schema = Schema(
        (Block("p", "MeV"),),
        (
            Block("dll", shape=(2,), columns=("K", "pi")),
            Block("time", "ns"),
            Block("species", kind="categorical"),
            Block("map", "MeV", shape=(10, 10)),
        ),
    )
    response = {
        "dll": [[1.0, 2.0], [np.nan, np.nan]],
        "time": [3.0, np.nan],
        "species": [0, 1],
        "map": np.stack([np.eye(10), np.full((10, 10), np.nan)]),
    }
    events = Events(schema, {"p": [1.0, 2.0]}, response, mask=[True, False])
    values = evaluate(events, None)
    expected = {"dll_K": 1.0, "dll_pi": 2.0, "time": 3.0, "sum_map": 10.0, "max_map": 1.0, "zero_fraction_map": 0.9}
    assert set(values) == set(expected)
    for name, number in expected.items():
        assert values[name][0] == pytest.approx(number)
        assert np.isnan(values[name][1])


def test_mask_reaches_the_counts_of_cells():
    cells = np.ones((2, 89), np.float32) * 5
    cells[1] = np.nan
    values = evaluate(showers(cells, mask=[True, False]), builtin("atlas-em-89"))
    assert all(np.isnan(v[1]) for v in values.values())
    assert values["hits_middle"][0] == 21


def test_wrong_geometry_is_named():
    with pytest.raises(ValueError, match=r"'lhcb-ecal' has 900 cells, which fits 0 blocks of the response \(showers \(89\)\)"):
        shower_block(showers(np.ones((1, 89))).schema, builtin("lhcb-ecal"))


def test_nothing_to_compare():
    schema = Schema((Block("p", "MeV"),), (Block("species", kind="categorical"),))
    with pytest.raises(ValueError, match=r"the response \(species\) has no column to compare"):
        observables_for(schema)


def test_events_without_showers():
    events = showers(np.ones((2, 89)))
    waiting = Events(events.schema, events.conditions)
    with pytest.raises(ValueError, match="have not been simulated yet"):
        evaluate(waiting, builtin("atlas-em-89"))


def test_missing_geometry():
    found = observables_for(showers(np.ones((1, 89))).schema, builtin("atlas-em-89"))
    with pytest.raises(ValueError, match="observables need its geometry"):
        found[0](showers(np.ones((2, 89))), None)


def test_function_with_a_wrong_shape():
    bad = Observable("bad", "", "bad", lambda e, g: np.zeros(3))
    with pytest.raises(ValueError, match=r"'bad' has shape \(3,\) where \(2,\)"):
        bad(showers(np.ones((2, 89))))
