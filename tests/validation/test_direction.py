import math

import numpy as np
import pytest

from understudy.events import Block, Events, Schema
from understudy.geometry import Calorimeter, Layer, builtin
from understudy.validation.direction import across, asymmetry, covariance, planar, unit_vectors, width
from understudy.validation.observables import evaluate, observables_for

LAYER = Layer("ecal", ((-30.0, -10.0, 0.0, 10.0, 30.0), (-15.0, -5.0, 5.0, 15.0)), ("x", "y"), ("mm", "mm"))
EVEN = Layer.grid("ecal", (6, 5), (20.0, 10.0), (-60.0, -25.0), axes=("x", "y"), units=("mm", "mm"))
ECAL = Schema(
    (
        Block("incident_energy", "MeV"),
        Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz")),
        Block("position", "mm", shape=(2,), columns=("x", "y")),
    ),
    (Block("showers", "MeV", shape=(900,), minimum=0.0),),
)


def clipped_area(corners, point, normal):
    """Area of a polygon before a line, by clipping its edges one by one (Sutherland and Hodgman)."""
    kept = []
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        d0 = (x0 - point[0]) * normal[0] + (y0 - point[1]) * normal[1]
        d1 = (x1 - point[0]) * normal[0] + (y1 - point[1]) * normal[1]
        if d0 >= 0:
            kept.append((x0, y0))
        if (d0 >= 0) != (d1 >= 0):
            t = d0 / (d0 - d1)
            kept.append((x0 + t * (x1 - x0), y0 + t * (y1 - y0)))
    turns = zip(kept, [*kept[1:], *kept[:1]], strict=True)
    return 0.5 * abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in turns))


def slow_asymmetry(cells, layer, point, normal):
    forward = total = 0.0
    for i in range(layer.shape[0]):
        for j in range(layer.shape[1]):
            (x0, x1), (y0, y1) = layer.edges[0][i : i + 2], layer.edges[1][j : j + 2]
            share = clipped_area([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], point, normal) / ((x1 - x0) * (y1 - y0))
            energy = float(cells[i * layer.shape[1] + j])
            forward += energy * share
            total += energy
    return (2 * forward - total) / total


@pytest.mark.parametrize("layer", [LAYER, EVEN], ids=["uneven cells", "even cells"])
def test_asymmetry_shares_cells_by_area(layer):
    generator = np.random.default_rng(1)
    cells = generator.gamma(0.5, 10.0, (150, layer.n_cells)).astype(np.float32)
    point = generator.uniform(-12, 12, (150, 2))
    angle = generator.uniform(0, 2 * math.pi, 150)
    angle[:4] = 0, math.pi / 2, math.pi, math.pi / 4
    normal = np.stack([np.cos(angle), np.sin(angle)], 1)
    expected = [slow_asymmetry(*row) for row in zip(cells, [layer] * 150, point, normal, strict=True)]
    np.testing.assert_allclose(asymmetry(cells, layer, point, normal), expected, atol=2e-6)


def test_asymmetry_is_odd_in_the_direction_and_bounded():
    cells = np.zeros((3, LAYER.n_cells), np.float32)
    cells[0, -1] = cells[1, 0] = 5.0  # the corners up right and down left
    normal = np.full((3, 2), math.sqrt(0.5))
    np.testing.assert_allclose(asymmetry(cells, LAYER, np.zeros((3, 2)), normal), [1.0, -1.0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(asymmetry(cells, LAYER, np.zeros((3, 2)), -normal), [-1.0, 1.0, np.nan], rtol=1e-6)


def test_asymmetry_changes_smoothly_as_the_line_crosses_a_cell():
    cells = np.zeros((41, EVEN.n_cells), np.float32)
    cells[:, 2 * 5 + 2] = 1.0  # from -20 to 0 along x
    point = np.stack([np.linspace(-30, 10, 41), np.zeros(41)], 1)
    found = asymmetry(cells, EVEN, point, np.tile([1.0, 0.0], (41, 1)))
    np.testing.assert_allclose(found, np.clip((-10 - point[:, 0]) / 10, -1, 1), atol=1e-5)


def test_widths_are_those_of_projected_positions():
    generator = np.random.default_rng(2)
    cells = generator.gamma(0.5, 10.0, (300, LAYER.n_cells)).astype(np.float32)
    cells[7] = 0.0
    along = unit_vectors(generator.normal(size=(300, 2)))
    moments = covariance(cells, LAYER)
    for direction in (along, across(along)):
        found = width(moments, direction)
        for i in (0, 1, 128, 299):
            u = LAYER.centres @ direction[i]
            mean = np.average(u, weights=cells[i])
            assert found[i] == pytest.approx(math.sqrt(np.average((u - mean) ** 2, weights=cells[i])), rel=1e-5)
        assert np.isnan(found[7])


def test_directions_are_unit_vectors_and_across_is_to_the_left():
    found = unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found, [[0.6, 0.8], [np.nan, np.nan]])
    np.testing.assert_allclose(across(found)[0], [-0.8, 0.6])


def electrons(n=500, seed=3):
    """Showers that sit 100 mm times the slope downstream of their impact point, 15 mm wide along and 10 mm across."""
    generator = np.random.default_rng(seed)
    slope, position = generator.uniform(-0.15, 0.15, (n, 2)), generator.uniform(-10, 10, (n, 2))
    slope[0] = 0.0
    u = slope / np.maximum(np.hypot(*slope.T), 1e-9)[:, None]
    away = builtin("lhcb-ecal").layers[0].centres[None] - (position + 100 * slope)[:, None]
    along, side = (away * u[:, None]).sum(2), away[:, :, 1] * u[:, None, 0] - away[:, :, 0] * u[:, None, 1]
    cells = 1000 * np.exp(-0.5 * (along / 15) ** 2 - 0.5 * (side / 10) ** 2)
    energy = generator.uniform(1e3, 6e4, n)
    momentum = np.stack([slope[:, 0], slope[:, 1], np.ones(n)], 1) * energy[:, None]
    values = {"incident_energy": energy, "momentum": momentum, "position": position}
    return Events(ECAL, values, {"showers": cells}), slope


def test_inclined_showers_lie_forward_and_are_wider_along():
    events, slope = electrons()
    values = evaluate(events, builtin("lhcb-ecal"))
    size = np.hypot(*slope.T)
    for name in ("asymmetry_along", "asymmetry_across", "width_along", "width_across"):
        assert np.isnan(values[name][0])  # no transverse momentum
        assert np.isfinite(values[name][1:]).all()
    # Half of a Gaussian of 15 mm, shared by area over 20 mm cells, is erf(d / sqrt(2) sigma) with sigma^2 = 15^2 + 20^2 / 12.
    sigma = math.sqrt(15**2 + 20**2 / 12)
    expected = np.array([math.erf(100 * s / (math.sqrt(2) * sigma)) for s in size[1:]])
    np.testing.assert_allclose(values["asymmetry_along"][1:], expected, atol=0.09)
    assert abs((values["asymmetry_along"][1:] - expected).mean()) < 0.005
    assert abs(values["asymmetry_across"][1:].mean()) < 0.01
    assert values["width_along"][1:].mean() == pytest.approx(15, rel=0.01)
    assert values["width_across"][1:].mean() == pytest.approx(10, rel=0.01)


def test_what_is_not_known_has_no_observable():
    geometry = builtin("lhcb-ecal")
    known = {o.name for o in observables_for(ECAL, geometry)}
    assert {"asymmetry_along", "asymmetry_across", "width_along", "width_across", "radius_68", "radius_90"} <= known
    no_position = {o.name for o in observables_for(Schema(ECAL.conditions[:2], ECAL.response), geometry)}
    assert known - no_position == {"asymmetry_along", "asymmetry_across"}
    no_momentum = {o.name for o in observables_for(Schema(ECAL.conditions[:1], ECAL.response), geometry)}
    assert no_position - no_momentum == {"width_along", "width_across"}
    assert not planar(builtin("atlas-em-89").layer("middle"))
    assert not planar(Layer("thin", ((0.0, 1.0), (0.0, 1.0, 2.0, 3.0)), ("x", "y"), ("mm", "mm")))


def test_layers_of_several_are_named():
    layers = tuple(
        Layer.grid(name, (15, 30), (40.0, 20.0), (-300.0, -300.0), axes=("x", "y"), units=("mm", "mm")) for name in ("one", "two")
    )
    names = {o.name for o in observables_for(ECAL, Calorimeter("pair", layers))}
    assert {"asymmetry_along_one", "width_across_two", "radius_90_two"} <= names
    assert "asymmetry_along" not in names
