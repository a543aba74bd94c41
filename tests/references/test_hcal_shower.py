"""The parametric hadronic shower, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from understudy import hcal_geometry as hcal
from understudy.references import hcal_shower as shower
from understudy.references.hcal_shower import BARYON, MESON, MUON, HadronShowers, Particles

N = 20_000
SHOWERS = HadronShowers()


def rng(seed=1):
    return np.random.default_rng(seed)


def beam(n, energy, sort=MESON, x=1000.0, y=700.0, slope=(0.0, 0.0)):
    ones = np.ones(n)
    return Particles(np.arange(n), x * ones, y * ones, slope[0] * ones, slope[1] * ones, energy * ones, np.full(n, sort))


def sums(spots, n):
    return np.bincount(spots.particle, spots.energy, n)


@pytest.mark.parametrize(("sort", "length"), [(MESON, 1.2), (BARYON, 1.0)], ids=["meson", "baryon"])
def test_as_many_punch_through_as_the_exponential_says(sort, length):
    start = SHOWERS.starts(np.full(4 * N, sort), rng())
    depth = shower.ECAL_LENGTH + shower.HCAL_LENGTH
    expected = np.exp(-depth / length)
    assert (start > depth).mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / (4 * N)))
    assert start.mean() == pytest.approx(length, rel=0.02)


@pytest.mark.parametrize("energy", [3000.0, 10_000.0, 60_000.0])
def test_the_resolution_of_the_test_beam_is_recovered(energy):
    factors = SHOWERS.smear(np.full(4 * N, energy), rng())
    expected = np.hypot(0.69 / np.sqrt(energy / 1000), 0.09)
    assert factors.mean() == pytest.approx(1.0, abs=4 * expected / np.sqrt(4 * N))
    assert factors.std() == pytest.approx(expected, rel=0.02)


def test_showers_that_begin_in_front_deposit_their_energy_with_that_resolution():
    energy = np.full(N, 20_000.0)
    rows, depth, deposited, _ = SHOWERS._showers(np.full(N, shower.ECAL_LENGTH + 1e-3), energy, rng())
    total = np.bincount(rows, deposited, N)
    assert 0.96 * 20_000 < total.mean() < 20_000  # a little leaves behind
    contained = np.hypot(0.69 / np.sqrt(20), 0.09)
    assert contained < total.std() / total.mean() < 1.2 * contained
    assert (depth >= 0).all()
    assert (depth <= hcal.DEPTH).all()


def test_leakage_grows_with_the_depth_of_the_start():
    means = []
    for start in (1.2, 3.0, 5.0, 6.5):
        rows, _, deposited, _ = SHOWERS._showers(np.full(4000, start), np.full(4000, 30_000.0), rng())
        means.append(np.bincount(rows, deposited, 4000).mean())
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.35 * means[0]


def test_the_electromagnetic_fraction_has_the_mean_of_the_power_law():
    for energy, expected in ((1000.0, 0.0), (10_000.0, 1 - 10**-0.18), (100_000.0, 1 - 100**-0.18)):
        assert shower.mean_em_fraction(np.array([energy]))[0] == pytest.approx(expected)
    drawn = SHOWERS.em_fraction(np.full(N, 50_000.0), rng())
    mean = 1 - 50**-0.18
    assert drawn.mean() == pytest.approx(mean, abs=0.006)
    assert drawn.var() == pytest.approx(mean * (1 - mean) / 7, rel=0.05)


def test_radii_contain_what_the_closed_form_says():
    r = shower.radial(np.full(N, 50.0), rng().random(N))
    for radius in (25.0, 50.0, 100.0, 400.0):
        expected = radius**2 / (radius**2 + 50.0**2)
        assert (r < radius).mean() == pytest.approx(expected, abs=0.015)


def test_radiation_lengths_are_passed_in_both_calorimeters():
    first = shower.after_radiation_lengths(np.array([0.0, 1.1, 3.0]), np.array([25.0, 22.0, 0.0]))
    assert first == pytest.approx([1.1, 1.1 + 22 * 22 / shower.INTERACTION_LENGTH, 3.0])
    assert shower.after_radiation_lengths(np.array([0.0]), np.array([36.0])) == pytest.approx(
        1.1 + 11 * 22 / shower.INTERACTION_LENGTH
    )


def test_muons_ionise_along_their_path_and_never_shower():
    n = 5000
    particles = beam(n, 20_000.0, MUON, slope=(0.2, 0.0))
    spots = SHOWERS.deposit(particles, rng())
    total = sums(spots, n)
    assert len(spots.energy) == 4 * n
    assert total.mean() == pytest.approx(1400.0, rel=0.03)
    assert 0.05 < total.std() / total.mean() < 0.4
    np.testing.assert_allclose(spots.x, 1000.0 + 0.2 * spots.depth)
    assert (total <= 20_000).all()


def test_a_soft_muon_leaves_no_more_than_it_has():
    assert sums(SHOWERS.deposit(beam(500, 300.0, MUON), rng()), 500).max() <= 300.0 + 1e-9


def test_the_image_holds_the_spots_energy_times_the_sine_of_their_cell():
    n = 200
    particles = beam(n, 40_000.0)
    spots = SHOWERS.deposit(particles, rng())
    slow = np.zeros((n, *hcal.SHAPE))
    sines = hcal.pixel_sines()
    for particle, x, y, energy in zip(spots.particle, spots.x, spots.y, spots.energy, strict=True):
        column, row = int(np.floor(x / hcal.CELL)) + 32, int(np.floor(y / hcal.CELL)) + 26
        if 0 <= column < 64 and 0 <= row < 52 and not (24 <= row < 28 and 30 <= column < 34):
            slow[particle, row, column] += energy * sines[row, column]
    image = shower.images(spots, particles, n)
    np.testing.assert_allclose(image, slow, rtol=1e-9, atol=1e-9)


def test_the_read_out_caps_thresholds_and_silences():
    image = np.full((1, *hcal.SHAPE), 10.0)
    image[0, 13, 20] = 9000.0
    image[0, 0:2, 0:2] = 2000.0
    out = shower.read_out(image, hcal.alive([(2, 2)]))
    assert out[0, 13, 20] == hcal.CAP
    assert (out[0, 0:2, 0:2] == hcal.CAP / 4).all()  # 8000 MeV in the outer cell
    assert out[0, 14, 18] == 0  # dead
    assert out[0, 14, 19] == 0  # 10 MeV is less than a count
    assert out[0, 4, 4] == 10  # 40 MeV in its outer cell
    assert (out[0, 24:28, 30:34] == 0).all()


def test_deposits_per_second_are_thousands():
    import time

    begin = time.process_time()
    SHOWERS.deposit(beam(4000, 20_000.0), rng())
    assert 4000 / (time.process_time() - begin) > 3000
