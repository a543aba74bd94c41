"""Parametric showers: closed forms, a slow twin of the spots, conservation, and the calorimeters built in."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import integrate, stats

from understudy import geometry
from understudy.geometry import Calorimeter, Layer
from understudy.references.gflash_engine import Section, ShowerEngine, Tuning
from understudy.references.gflash_medium import ATLAS_EM, IRON, LEAD, LHCB_ECAL, LIQUID_ARGON, SCINTILLATOR, SamplingStack
from understudy.references.gflash_profiles import (
    LongitudinalLaw,
    RadialLaw,
    conversion_depths,
    depth_fractions,
    pair_shares,
    relative_depth,
)
from understudy.references.gflash_spots import SpotCounter, SpotGroups, rectangle_share
from understudy.references.shower import LHCB_TUNING, parametric_atlas, parametric_lhcb_ecal
from understudy.registry import factory
from understudy.simulator import Simulator, Source

GRID = Layer.grid("grid", (9, 7), (8.0, 12.0), (-36.0, -42.0), axes=("x", "y"), units=("mm", "mm"))
UNEVEN = Layer("uneven", ((-40.0, -10.0, 0.0, 3.0, 50.0), (-30.0, -5.0, 40.0)), axes=("x", "y"), units=("mm", "mm"))
RINGS = Layer(
    "rings", (tuple(np.linspace(-math.pi, math.pi, 5)), (0.0, 2.0, 5.0, 10.0, 40.0)), ("alpha", "r"), ("rad", "mm"), "polar"
)


def engine(tuning=None, depth=200.0, half=1e5, **settings):
    """A block so deep and wide that nothing leaks, read out as one cell."""
    box = Layer("all", ((-half, half), (-half, half)), axes=("x", "y"), units=("mm", "mm"))
    return ShowerEngine(Calorimeter("box", (box,)), LHCB_ECAL, (Section(depth, "all"),), tuning or Tuning(), step=2.0, **settings)


def fire(simulator, energy, n, seed=1, position=(0.0, 0.0), slope=(0.0, 0.0)):
    rows = (np.full(n, energy), np.tile(position, (n, 1)), np.tile(slope, (n, 1)))
    return simulator.shower(*rows, np.random.default_rng(seed)).astype(float)


# the medium


@pytest.mark.parametrize(("medium", "Ec"), [(LEAD, 7.43), (IRON, 21.68), (LIQUID_ARGON, 32.84), (SCINTILLATOR, 94.11)])
def test_critical_energies_are_near_the_tabulated_ones(medium, Ec):
    assert medium.Ec == pytest.approx(Ec, rel=0.12)


def test_stack_of_one_material_is_that_material():
    stack = SamplingStack(((LEAD, 1.0),), (LEAD, 3.0))
    assert (stack.Z, stack.Ec, stack.e_hat) == pytest.approx((82.0, LEAD.Ec, 1.0))
    assert (stack.X0, stack.Rm) == pytest.approx((LEAD.X0_mm, LEAD.Rm))
    assert stack.sampling_frequency == pytest.approx(LEAD.X0_mm / 4.0)


def test_thicknesses_in_radiation_lengths_add_up():
    for stack in (LHCB_ECAL, ATLAS_EM):
        assert stack.period / stack.X0 == pytest.approx(sum(d / m.X0_mm for m, d in stack.plates))


def test_built_in_stacks_are_those_of_the_detectors():
    assert 13 * ATLAS_EM.period / ATLAS_EM.X0 == pytest.approx(4.2, abs=0.05)
    assert 49 * ATLAS_EM.period / ATLAS_EM.X0 == pytest.approx(16.0, abs=0.1)
    assert pytest.approx(36.0, abs=1.5) == LHCB_ECAL.Rm


def test_stack_without_thickness_is_refused():
    with pytest.raises(ValueError, match="positive thickness"):
        SamplingStack(((LEAD, 0.0),), (SCINTILLATOR, 4.0))


# profiles


def test_depth_fractions_are_those_of_the_gamma_distribution():
    T, alpha = np.array([5.0, 7.0]), np.array([3.0, 5.5])
    edges = np.array([[-1.0, 0.5, 4.0, 30.0], [0.0, 2.0, 9.0, 12.0]])
    for i in range(2):
        cdf = stats.gamma(alpha[i], scale=T[i] / (alpha[i] - 1.0)).cdf(edges[i])
        np.testing.assert_allclose(depth_fractions(T, alpha, edges)[i], np.diff(cdf), rtol=1e-12, atol=1e-15)


def test_published_medians_at_one_energy():
    """10 GeV in the lead-scintillator stack, worked out by hand from the appendix with Z = 70.241, Ec = 9.397 MeV."""
    T, alpha = LongitudinalLaw(LHCB_ECAL).medians(np.array([1e4]))
    ln_y = math.log(1e4 / 9.3968)
    assert T[0] == pytest.approx(ln_y - 0.812 - 0.55 / 2.7340 - 0.69 * 0.34852, rel=1e-4)
    assert alpha[0] == pytest.approx(0.81 + (0.458 + 2.26 / 70.2406) * ln_y - 0.476 / 2.7340, rel=1e-4)


def test_drawn_shapes_have_the_widths_and_the_correlation_of_the_law():
    law, energy = LongitudinalLaw(ATLAS_EM), np.full(40000, 3e4)
    T, alpha = law.draw(energy, np.random.default_rng(3))
    width_T, width_alpha, rho = (v[0] for v in law.widths(energy))
    medians = [v[0] for v in law.medians(energy)]
    assert [np.median(T), np.median(alpha)] == pytest.approx(medians, rel=0.01)
    assert [np.log(T).std(), np.log(alpha).std()] == pytest.approx([width_T, width_alpha], rel=0.02)
    assert np.corrcoef(np.log(T), np.log(alpha))[0, 1] == pytest.approx(rho, abs=0.01)


def test_relative_depth_of_the_median_shower_is_t_over_T():
    t = np.array([[1.0, 6.0, 20.0]])
    np.testing.assert_allclose(relative_depth(t, np.array([6.0]), np.array([4.0]), np.array([4.0])), t / 6.0)


@pytest.mark.parametrize("energy", [0.0, 1.0, 1e3, 1e7])
def test_radial_law_stays_physical(energy):
    core, tail, weight = RadialLaw(LHCB_ECAL)(np.array(energy), np.linspace(0, 20, 200))
    assert (core > 0).all()
    assert (tail >= core).all()
    assert ((weight >= 0) & (weight <= 1)).all()


def test_photons_convert_at_exponential_depths():
    assert stats.kstest(conversion_depths(20000, np.random.default_rng(4)), stats.expon(scale=9 / 7).cdf).pvalue > 1e-3


def test_pairs_share_the_energy_as_in_complete_screening():
    def cdf(x):
        return 9 / 7 * (x - 2 / 3 * x**2 + 4 / 9 * x**3)

    assert stats.kstest(pair_shares(20000, np.random.default_rng(5)), cdf).pvalue > 1e-3


# spots


def groups(n=3, g=12, seed=0):
    r = np.random.default_rng(seed)
    return SpotGroups(
        r.integers(0, 40, g),
        r.uniform(1, 30, g),
        r.uniform(0, 5, g),
        r.uniform(-20, 20, g),
        r.uniform(-20, 20, g),
        r.integers(0, n, g),
    )


def slow_drop(spots, layer, n, generator):
    total = int(spots.counts.sum())
    u, turn = generator.random(total, np.float32), generator.random(total, np.float32)
    cells, k = np.zeros((n, layer.n_cells)), 0
    for group, count in enumerate(spots.counts):
        for _ in range(count):
            r = spots.radius[group] * math.sqrt(u[k] / (1.0 - u[k]))
            x = spots.x[group] + r * math.cos(2 * math.pi * turn[k])
            y = spots.y[group] + r * math.sin(2 * math.pi * turn[k])
            point = (math.atan2(y, x), math.hypot(x, y)) if layer.shape_of_grid == "polar" else (x, y)
            cell = int(layer.find(*map(np.asarray, point)))
            if cell >= 0:
                cells[spots.event[group], cell] += spots.energy[group]
            k += 1
    return cells


@pytest.mark.parametrize("layer", [GRID, UNEVEN, RINGS], ids=lambda layer: layer.name)
def test_spots_against_the_slow_twin(layer):
    spots = groups()
    fast = SpotCounter(layer).drop(spots, 3, np.random.default_rng(7))
    np.testing.assert_allclose(fast, slow_drop(spots, layer, 3, np.random.default_rng(7)), rtol=1e-5, atol=1e-5)


def test_pieces_lose_no_spot():
    wide = Layer("wide", ((-1e7, 1e7), (-1e7, 1e7)), axes=("x", "y"), units=("mm", "mm"))
    spots = groups(n=5, g=300)
    expected = np.bincount(spots.event, spots.energy * spots.counts, 5)
    for piece in (1, 100, 10**6):
        np.testing.assert_allclose(
            SpotCounter(wide, piece=piece).drop(spots, 5, np.random.default_rng(1))[:, 0], expected, rtol=1e-5
        )


def test_no_spots_give_empty_cells():
    none = SpotGroups(*(np.zeros(4) for _ in range(5)), np.zeros(4, int))
    none = SpotGroups(none.counts.astype(int), none.radius, none.energy, none.x, none.y, none.event)
    assert SpotCounter(GRID).drop(none, 2, np.random.default_rng(1)).tolist() == np.zeros((2, GRID.n_cells)).tolist()


def test_rings_hold_the_radial_distribution():
    n, R = 200_000, 6.0
    spots = SpotGroups(np.array([n]), np.array([R]), np.array([1.0 / n]), np.zeros(1), np.zeros(1), np.zeros(1, int))
    found = SpotCounter(RINGS).drop(spots, 1, np.random.default_rng(2)).reshape(4, 4).sum(0)
    edges = np.array(RINGS.edges[1])
    np.testing.assert_allclose(found, np.diff(edges**2 / (edges**2 + R**2)), atol=4 / math.sqrt(n))


def test_rectangle_share_against_quadrature_and_spots():
    n, R = 200_000, 15.0
    spots = SpotGroups(np.array([n]), np.array([R]), np.array([1.0 / n]), np.zeros(1), np.zeros(1), np.zeros(1, int))
    found = SpotCounter(GRID).drop(spots, 1, np.random.default_rng(2)).reshape(GRID.shape)
    for i, j in ((0, 0), (4, 3), (5, 6)):
        x, y = GRID.edges[0][i : i + 2], GRID.edges[1][j : j + 2]
        share = rectangle_share(x, y, R)
        assert share == pytest.approx(
            integrate.dblquad(lambda b, a: R**2 / math.pi / (a * a + b * b + R * R) ** 2, *x, *y)[0], rel=1e-6
        )
        assert found[i, j] == pytest.approx(share, abs=4 * math.sqrt(share / n))


# showers


@pytest.mark.parametrize("front", [0.0, 40.0])
def test_mean_depth_profile_is_the_gamma_profile_and_the_front(front):
    edges = np.array([0.0, 2.0, 5.0, 8.0, 12.0, 25.0])
    wide = ((-1e5, 1e5), (-1e5, 1e5))
    layers = tuple(Layer(f"slice_{i}", wide, ("x", "y"), ("mm", "mm")) for i in range(5))
    sections = tuple(Section(d, f"slice_{i}") for i, d in enumerate(np.diff(edges)))
    tuning = Tuning(width_scale=0.0, sampling_term=0.05, front=front)
    made = ShowerEngine(Calorimeter("slices", layers), ATLAS_EM, sections, tuning)
    cells = fire(made, 2e4, 500)
    T, alpha = (v[0] for v in made.longitudinal.medians(np.array([2e4])))
    early = front * math.sqrt(20.0)
    expected = (2e4 - early) * np.diff(stats.gamma(alpha, scale=T / (alpha - 1)).cdf(edges)) - early * np.diff(np.exp(-edges / 2))
    error = cells.std(0) / math.sqrt(500)
    np.testing.assert_array_less(abs(cells.mean(0) - expected), 4 * error + 1e-3 * expected)


def test_the_front_is_no_more_than_the_shower_has():
    made = engine(Tuning(front=500.0, sampling_term=0.01))
    assert fire(made, 10.0, 200).sum(1).mean() == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize("particle", ["electron", "photon"])
@pytest.mark.parametrize("energy", [1e3, 1e4])
def test_energy_and_resolution_without_leakage(energy, particle):
    made = engine(Tuning(response=0.17, sampling_term=0.08), particle=particle)
    total = fire(made, energy, 3000).sum(1) / energy
    resolution = 0.08 / math.sqrt(energy / 1000)
    assert total.mean() == pytest.approx(0.17, abs=4 * 0.17 * resolution / math.sqrt(3000) + 2e-4)
    assert total.std() / total.mean() == pytest.approx(resolution, rel=0.06)


def test_ionisation_in_front_is_taken_from_the_shower():
    box = Layer("all", ((-1e5, 1e5), (-1e5, 1e5)), axes=("x", "y"), units=("mm", "mm"))
    dead = Section(1e-6, ionisation=30.0)
    made = ShowerEngine(
        Calorimeter("box", (box,)), LHCB_ECAL, (dead, Section(200.0, "all")), Tuning(sampling_term=1e-2), step=2.0
    )
    assert fire(made, 100.0, 500).mean() == pytest.approx(70.0, rel=0.01)
    assert fire(made, 20.0, 50).sum() == pytest.approx(0.0, abs=1e-6)


def test_presampler_stays_empty_before_the_conversion():
    source = parametric_atlas()
    cells = source.generate(4000, np.random.default_rng(8))["showers"]
    empty = (cells[:, source.geometry.slices["presampler"]] == 0).all(1).mean()
    assert empty == pytest.approx(math.exp(-7 / 9 * (1.7 + 11 / LIQUID_ARGON.X0_mm)), abs=4 * math.sqrt(0.2 / 4000) + 0.01)


def test_centred_showers_are_symmetric():
    images = fire(parametric_lhcb_ecal().simulator.engine, 1e4, 800).reshape(-1, 30, 30)
    for mirrored in (images[:, ::-1], images[:, :, ::-1], images.transpose(0, 2, 1)):
        difference = (images - mirrored)[:, 12:18, 12:18]
        error = difference.std(0) / math.sqrt(800)
        np.testing.assert_array_less(abs(difference.mean(0)), 4.5 * error + 1e-9)


def test_inclined_showers_move_by_slope_times_depth():
    made = parametric_lhcb_ecal().simulator.engine
    x = made.calorimeter.layers[0].centres[:, 0]
    straight, tilted = (fire(made, 1e4, 600, slope=(s, 0.0)) for s in (0.0, 0.15))
    shift = (tilted @ x / tilted.sum(1)).mean() - (straight @ x / straight.sum(1)).mean()
    T, alpha = (v[0] for v in made.longitudinal.medians(np.array([1e4])))
    assert shift == pytest.approx(0.15 * T * alpha / (alpha - 1) * LHCB_ECAL.X0, rel=0.08)


def test_moved_particle_moves_the_image():
    made = parametric_lhcb_ecal().simulator.engine
    centre = fire(made, 5e3, 1).reshape(30, 30)
    moved = fire(made, 5e3, 1, position=(20.0, -40.0)).reshape(30, 30)
    np.testing.assert_allclose(moved[9:23, 6:20], centre[8:22, 8:22], rtol=1e-4, atol=0.5)


def test_visible_fraction_and_resolution_of_the_lhcb_stack_are_geant4s():
    """Geant4 11.4: 0.172 to 0.173 of the energy is visible, 7.6 to 8.3 % / sqrt(E)."""
    ratio = fire(parametric_lhcb_ecal().simulator.engine, 1e4, 3000).sum(1) / 1e4
    assert ratio.mean() == pytest.approx(0.1725, rel=0.01)
    assert 0.07 < ratio.std() / ratio.mean() * math.sqrt(10) < 0.085


def test_linear_from_1_to_30_gev():
    made = parametric_lhcb_ecal().simulator.engine
    fractions = [fire(made, energy, 1500).sum(1).mean() / energy for energy in (1e3, 5e3, 3e4)]
    assert max(fractions) / min(fractions) < 1.015


# simulators and sources


@pytest.mark.parametrize("build", [parametric_atlas, parametric_lhcb_ecal])
def test_same_seed_same_bytes(build):
    source = build()
    first, second = (source.generate(40, np.random.default_rng(9)) for _ in range(2))
    assert first["showers"].tobytes() == second["showers"].tobytes()
    assert first["showers"].tobytes() != source.generate(40, np.random.default_rng(10))["showers"].tobytes()


def test_block_changes_the_sample_but_not_its_distribution():
    energies = [fire(parametric_lhcb_ecal(block=b).simulator.engine, 5e3, 1500).sum(1) for b in (2000, 10**6)]
    assert (energies[0] != energies[1]).any()
    assert stats.ks_2samp(*energies).pvalue > 1e-3


def test_memory_is_bounded_by_the_block():
    made = parametric_lhcb_ecal(block=20_000).simulator.engine

    def peak(n):
        fire(made, 5e4, 1)
        tracemalloc.start()
        made.shower(np.full(n, 5e4), np.zeros((n, 2)), np.zeros((n, 2)), np.random.default_rng(1))
        highest = tracemalloc.get_traced_memory()[1] - n * 900 * 4
        tracemalloc.stop()
        return highest

    assert peak(200) < 1.5 * peak(20)


@pytest.mark.parametrize(("kind", "cells"), [("parametric-atlas", 89), ("parametric-lhcb-ecal", 900)])
def test_registered_references_are_sources(kind, cells):
    source = factory("references", {"kind": kind})()
    assert isinstance(source, Source)
    assert isinstance(source.simulator, Simulator)
    events = source.generate(6, np.random.default_rng(1))
    assert events["showers"].shape == (6, cells)
    assert source.geometry.n_cells == cells
    again = source.simulator.simulate(events.conditions, np.random.default_rng(2))
    assert (again["incident_energy"] == events["incident_energy"]).all()


def test_large_cluster_holds_more_than_its_crop():
    large, small = (parametric_atlas(geometry=f"atlas-em-{n}").generate(300, np.random.default_rng(4)) for n in (247, 89))
    crop = geometry.builtin("atlas-em-89").crop_of(geometry.builtin("atlas-em-247"))
    np.testing.assert_allclose(large["showers"][:, crop].sum(), small["showers"].sum(), rtol=0.02)
    assert large["showers"].sum() > small["showers"].sum()


def test_no_energy_no_signal():
    events = parametric_atlas().simulator.simulate(
        {"incident_energy": [0.0, 1.0], "position": np.zeros((2, 2))}, np.random.default_rng(1)
    )
    assert (events["showers"][0] == 0).all()


GOOD = {"incident_energy": [1e4], "momentum": [[0.0, 0.0, 1e4]], "position": [[0.0, 0.0]]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"incident_energy": [-1.0]}, "below its minimum 0 MeV"),
        ({"incident_energy": [math.nan]}, "NaN"),
        ({"momentum": [[0.0, 0.0, -1e4]]}, "pz above 0"),
        ({"momentum": [[1e4, 0.0]]}, "shape"),
        ({"position": None}, "lack position"),
    ],
)
def test_bad_conditions(changes, message):
    conditions = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        parametric_lhcb_ecal().simulator.simulate(conditions, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"gnu": {}}, "unknown key 'gnu' .did you mean 'gun'"),
        ({"tuning": {"response": -1.0}}, "tuning.response"),
        ({"tuning": {"core": 1.0}}, "tuning: unknown key 'core'"),
        ({"particle": "muon"}, "particle"),
        ({"block": 0}, "block"),
    ],
)
def test_bad_recipe(recipe, message):
    with pytest.raises(ValueError, match=message):
        factory("references", {"kind": "parametric-lhcb-ecal", **recipe})


def test_geometry_without_the_layers_is_refused():
    with pytest.raises(ValueError, match="no layer 'ecal'"):
        parametric_lhcb_ecal(geometry="atlas-em-89", tuning=LHCB_TUNING)
