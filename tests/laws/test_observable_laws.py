"""What holds for every observable of every calorimeter."""

import math

import numpy as np
import pytest

from understudy.events import Block, Events, Schema
from understudy.geometry import Calorimeter, Layer, builtin
from understudy.validation.observables import evaluate, observables_for


def rings():
    alpha = tuple(np.linspace(-math.pi, math.pi, 7))
    layers = [
        Layer("layer_0", ((-math.pi, math.pi), (0.0, 5.0, 10.0, 30.0)), ("alpha", "r"), ("rad", "mm"), "polar"),
        Layer("layer_1", (alpha, (0.0, 8.0, 16.0, 40.0)), ("alpha", "r"), ("rad", "mm"), "polar"),
    ]
    return Calorimeter("rings", tuple(layers))


GEOMETRIES = {name: lambda name=name: builtin(name) for name in ("atlas-em-89", "atlas-em-247", "lhcb-ecal")} | {"rings": rings}


@pytest.fixture(params=sorted(GEOMETRIES))
def geometry(request):
    return GEOMETRIES[request.param]()


def toy(geometry, n=30, seed=3, scale=1.0):
    generator = np.random.default_rng(seed)
    energy = generator.uniform(1e3, 6e4, n)
    cells = generator.gamma(0.2, 1.0, (n, geometry.n_cells)) * energy[:, None] / geometry.n_cells
    cells[:, ::5] = 0.0
    schema = Schema((Block("incident_energies", "MeV"),), (Block("showers", "MeV", shape=(geometry.n_cells,), minimum=0.0),))
    return Events(schema, {"incident_energies": scale * energy}, {"showers": scale * cells})


def test_one_number_per_event_with_unique_names(geometry):
    events = toy(geometry)
    found = observables_for(events.schema, geometry)
    assert len({o.name for o in found}) == len(found)
    for o in found:
        values = o(events, geometry)
        assert values.shape == (len(events),)
        assert values.dtype == np.float64
        assert np.isfinite(values).any(), o.name
        assert o.label


def test_rescaled_showers_have_rescaled_energies_and_the_same_shape(geometry):
    units = {o.name: o.unit for o in observables_for(toy(geometry).schema, geometry)}
    before, after = evaluate(toy(geometry), geometry), evaluate(toy(geometry, scale=3.0), geometry)
    for name, unit in units.items():
        if not name.startswith("hits_"):
            factor = 3.0 if unit == "MeV" else 1.0
            np.testing.assert_allclose(after[name], factor * before[name], rtol=2e-5, atol=1e-6, err_msg=name)


def test_events_do_not_know_each_other(geometry):
    events = toy(geometry)
    order = np.random.default_rng(5).permutation(len(events))[:11]
    whole, part = evaluate(events, geometry), evaluate(events[order], geometry)
    for name, values in whole.items():
        np.testing.assert_allclose(part[name], values[order], rtol=1e-12, err_msg=name)


def test_empty_showers_are_finite_or_not_defined(geometry):
    events = toy(geometry)
    empty = events.with_response(np.zeros((len(events), geometry.n_cells), np.float32))
    for name, values in evaluate(empty, geometry).items():
        assert not np.isinf(values).any(), name
        if name.startswith(("mean_", "width_", "core_", "max_fraction_", "fraction_", "depth")):
            assert np.isnan(values).all(), name


@pytest.mark.parametrize("name", ["atlas-em-89", "atlas-em-247", "lhcb-ecal"])
def test_mirrored_showers_have_mirrored_barycentres(name):
    geometry = builtin(name)
    events = toy(geometry)
    images = geometry.images(events["showers"])
    mirrored = events.with_response(np.concatenate([i[:, :, ::-1].reshape(len(events), -1) for i in images.values()], axis=1))
    before, after = evaluate(events, geometry), evaluate(mirrored, geometry)
    for layer in geometry.layers:
        middle = 0.5 * (layer.edges[1][0] + layer.edges[1][-1])
        along = f"{layer.axes[1]}_{layer.name}"
        np.testing.assert_allclose(after[f"mean_{along}"] - middle, middle - before[f"mean_{along}"], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(after[f"width_{along}"], before[f"width_{along}"], rtol=1e-6, atol=1e-9)
