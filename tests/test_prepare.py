from __future__ import annotations

import numpy as np
import pytest

from understudy import geometry
from understudy.events import Events
from understudy.prepare import Preparation, crop, derived
from understudy.registry import factory
from understudy.schema import Block, Schema

BIG, SMALL = geometry.builtin("atlas-em-247"), geometry.builtin("atlas-em-89")
CUTS = {"presampler": 120.0, "strips": 60.0, "middle": 200.0, "back": 200.0}


def showers(n=40, cells=247, seed=0):
    rng = np.random.default_rng(seed)
    schema = Schema((Block("incident_energy", "MeV", minimum=0),), (Block("showers", "MeV", shape=(cells,), minimum=0),))
    energy = rng.uniform(1e3, 6e4, n)
    return Events(schema, {"incident_energy": energy}, {"showers": rng.exponential(100, (n, cells))})


def projection():
    return factory("projections", {"kind": "threshold", "layers": CUTS})(geometry=SMALL)


def test_cells_are_cropped_by_position_and_cut_before_they_are_summed():
    events = showers()
    prepared = Preparation(SMALL, None, [projection()], ["total_energy"])(events, BIG)
    images = BIG.images(events["showers"])
    expected = np.concatenate(
        [
            images["presampler"][:, 2:5].reshape(40, -1),
            images["strips"][:, 16:40].reshape(40, -1),
            images["middle"][:, 2:5, 2:9].reshape(40, -1),
            images["back"][:, 1:3, 2:9].reshape(40, -1),
        ],
        axis=1,
    )
    cuts = SMALL.per_layer(CUTS)
    expected = np.where(expected < cuts, 0, expected)
    np.testing.assert_array_equal(prepared["showers"], expected)
    np.testing.assert_allclose(prepared["total_energy"], expected.sum(1), rtol=1e-6)
    assert prepared.schema.block("total_energy").derived
    assert [b.name for b in prepared.schema.given] == ["incident_energy"]


def test_selection_keeps_the_events_inside_and_says_when_none_is():
    events = showers()
    kept = Preparation(BIG, select={"incident_energy": (1e4, 2e4)})(events)
    energy = events["incident_energy"]
    np.testing.assert_array_equal(kept["incident_energy"], energy[(energy >= 1e4) & (energy <= 2e4)])
    with pytest.raises(ValueError, match="none of the 40 events lies inside"):
        Preparation(BIG, select={"incident_energy": (0, 1)})(events)
    with pytest.raises(ValueError, match="cannot select on 'eta'"):
        Preparation(BIG, select={"eta": (0, 1)})(events)


def test_a_response_that_does_not_fit_the_geometry_is_refused():
    with pytest.raises(ValueError, match="100 cells per event where geometry 'atlas-em-247' has 247"):
        crop(showers(cells=100), BIG, SMALL)


def test_unknown_derived_condition():
    with pytest.raises(ValueError, match="no derived condition 'pt'; there are total_energy"):
        derived("pt")


def test_the_energies_of_layers_are_sums_after_the_cuts_one_column_per_layer():
    prepared = Preparation(SMALL, None, [projection()], ["layer_energies", "total_energy"])(showers(), BIG)
    energies = prepared["layer_energies"]
    assert energies.shape == (40, 4)
    for column, name in enumerate(SMALL.layer_names):
        expected = [sum(float(x) for x in row[SMALL.slices[name]]) for row in prepared["showers"]]
        np.testing.assert_allclose(energies[:, column], expected, rtol=1e-5)
    np.testing.assert_allclose(energies.sum(1), prepared["total_energy"], rtol=1e-5)
    block = prepared.schema.block("layer_energies")
    assert (block.derived, block.unit, block.shape, block.columns) == (True, "MeV", (4,), SMALL.layer_names)
    assert Preparation(SMALL, None, (), ["layer_energies"]).schema(showers().schema).block("layer_energies") == block


def test_events_are_selected_where_every_layer_is_inside():
    every = Preparation(SMALL, None, (), ["layer_energies"])(showers(), BIG)["layer_energies"]
    kept = Preparation(SMALL, None, (), ["layer_energies"], {"layer_energies": (0.0, float(np.median(every.max(1))))})
    energies = kept(showers(), BIG)["layer_energies"]
    assert 0 < len(energies) < len(every)
    assert energies.max() <= np.median(every.max(1))


def test_energies_of_layers_need_a_geometry():
    with pytest.raises(ValueError, match="layer_energies needs to know the layers of the response; name its geometry"):
        Preparation(None, None, (), ["layer_energies"])(showers())
