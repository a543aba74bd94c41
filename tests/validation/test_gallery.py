"""Which single showers are shown, in which words, and that every sample is on one colour scale."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from understudy.events import Events
from understudy.geometry import Calorimeter, Layer, builtin
from understudy.schema import Block, Schema
from understudy.validation import figures_gallery, figures_variety
from understudy.validation.gallery import choose, gallery
from understudy.validation.outcome import Outcome, Sample
from understudy.validation.variety import Variety
from understudy.validation.wording import describe, in_energy_unit

TWO = Calorimeter(
    "two", (Layer.grid("front", (2, 1), (1.0, 1.0), (0.0, 0.0)), Layer.grid("rear", (3, 3), (1.0, 1.0), (0.0, 0.0)))
)
CELLS = Schema((Block("incident_energy", "MeV", minimum=0.0),), (Block("showers", "MeV", shape=(11,), minimum=0.0),))


def showers(n: int, seed: int, conditions_seed: int = 0) -> Events:
    energy = np.random.default_rng(conditions_seed).uniform(1e3, 1e5, n)
    shares = np.random.default_rng(seed).dirichlet(np.ones(11), n)
    return Events(CELLS, {"incident_energy": energy}, {"showers": energy[:, None] * shares})


def outcome(reference: Events, floor: Events, **candidates: Events) -> Outcome:
    def sample(name: str, events: Events) -> Sample:
        return Sample(name, events, {}, {}, None)

    return Outcome(
        {}, sample("lead", reference), sample("floor", floor), {n: sample(n, e) for n, e in candidates.items()}, (), TWO
    )


def test_the_nearest_energies_are_chosen_and_each_event_once() -> None:
    energies = np.array([6.4e3, 15.7e3, 15.75e3, 63.0e3, 0.0])
    rows, note = choose(energies, [63.7e3, 6.5e3, 15.6e3, 15.9e3])
    assert rows == [3, 0, 1, 2]
    assert note == ""
    assert choose(energies, [1e4] * 9)[0] == [0, 1, 2, 3]


def test_energies_that_no_event_has_are_replaced_and_that_is_said() -> None:
    rows, note = choose(np.array([1e3, 59.8e3, 20e3]), [63.7e3, 1e3])
    assert rows == [1, 0]
    assert note == "Replaced by the nearest energy that there is (1 GeV to 59.8 GeV): 63.7 GeV by 59.8 GeV."


def test_without_wishes_quantiles_are_shown() -> None:
    energies = np.arange(101.0)
    assert choose(energies, None) == ([95, 65, 35, 5], "")
    assert choose(np.ones(1), None)[0] == [0]


def test_the_showers_are_at_the_same_conditions() -> None:
    reference, floor, mine, other = showers(50, 1), showers(50, 2, 9), showers(50, 3, 9), showers(50, 4, 5)
    found = gallery(outcome(reference, floor, mine=mine, other=other), [5e4, 2e3])
    assert found is not None
    energy = np.asarray(floor.conditions["incident_energy"])
    row = int(np.argmin(np.abs(np.log(energy / 5e4))))
    assert list(found.cells) == ["lead", "mine"]
    assert np.array_equal(found.cells["lead"][0], floor.response["showers"][row])
    assert np.array_equal(found.cells["mine"][0], mine.response["showers"][row])
    assert found.titles[0] == (in_energy_unit(float(energy[row])),)
    assert "Not at these conditions: other." in found.note
    assert gallery(outcome(reference, floor, other=other)) is None


def test_conditions_in_words() -> None:
    blocks = (
        Block("position", "mm", shape=(2,), columns=("x", "y")),
        Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz")),
        Block("incident_energy", "MeV", minimum=0.0),
    )
    values = {"position": [[1.25, -3.4]], "momentum": [[500.0, -1000.0, 1e4]], "incident_energy": [63.71e3]}
    words = describe(Events(Schema(blocks, ()), values), 0)
    assert words == ("63.7 GeV", "position 1.2, \u22123.4 mm", "slopes 0.05, \u22120.10")
    assert in_energy_unit(45.2) == "45.2 MeV"


@pytest.mark.parametrize("geometry", [TWO, builtin("lhcb-ecal"), builtin("atlas-em-89")], ids=lambda g: g.name)
def test_all_panels_share_one_scale(geometry: Calorimeter) -> None:
    rng = np.random.default_rng(0)
    samples = {"lead": rng.uniform(0, 10, (3, geometry.n_cells)), "understudy": rng.uniform(0, 900, (3, geometry.n_cells))}
    titles = [("1 GeV", "position $1$ mm"), ("2 GeV",), ("3 GeV",)]
    figure = figures_gallery.gallery_figure(geometry, titles, samples, {"understudy": "#0072B2"})
    meshes = [c for axes in figure.axes for c in axes.collections if isinstance(c, QuadMesh)]
    assert len(meshes) == 3 * 2 * len(geometry.layers) + 1  # and the colour bar
    scales = {(m.norm.vmin, m.norm.vmax) for m in meshes[:-1]}
    assert scales == {(1e-4 * samples["understudy"].max(), samples["understudy"].max())}
    assert any(t.get_text() == "understudy" and t.get_color() == "#0072B2" for t in figure.texts)
    drawn = np.ma.compressed(meshes[0].get_array())
    first = samples["lead"][0][geometry.slices[geometry.layer_names[0]]]
    assert np.allclose(np.sort(drawn), np.sort(first[first > 0]))


def test_empty_showers_can_be_drawn() -> None:
    figure = figures_gallery.gallery_figure(TWO, [("1 GeV",)], {"lead": np.zeros((1, 11))}, {})
    assert figure.axes


def test_histograms_of_one_condition_hold_all_samples() -> None:
    reference, mine = showers(60, 1), showers(60, 2)
    stuck = mine.with_response({"showers": np.repeat(mine.response["showers"][:1], 60, axis=0)})
    variety = Variety("1 GeV", {}, reference, {"mine": mine, "stuck": stuck}, {"mine": mine})
    figure = figures_variety.variety_histograms(variety, "lead", ["absent", "mine", "stuck"], TWO)
    first = figure.axes[0]
    assert len(first.patches) == 5  # reference twice, filled and outlined; two candidates; the one condition of the first
    assert [p.get_linestyle() for p in first.patches].count("--") == 1
    for axes in figure.axes:
        for patch in axes.patches:
            assert np.nansum(patch.get_data().values) == pytest.approx(1.0)
    images = figures_variety.variety_showers(variety, "lead", ["absent", "mine", "stuck"], TWO)
    assert {t.get_text() for t in images.texts} == {"lead", "mine", "stuck"}
