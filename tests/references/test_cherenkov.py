import numpy as np
import pytest
from pydantic import ValidationError

from understudy.references.cherenkov import MASSES, RICH1, RICH2, SPECIES, Radiator, saturated_angle, separation, threshold

PION, KAON, PROTON = MASSES[:3]


def test_thresholds_known_from_lhcb():
    # as LHCb publications give them [GeV]: pion and kaon 2.6 and 9.3 in C4F10, 4.4 and 15.6 in CF4
    found = [threshold(m, r.index) / 1000 for r in (RICH1, RICH2) for m in (PION, KAON)]
    np.testing.assert_allclose(found, [2.6, 9.3, 4.4, 15.6], atol=0.05)


@pytest.mark.parametrize("gas", [RICH1, RICH2])
def test_light_starts_at_threshold(gas):
    at = threshold(MASSES, gas.index)
    assert (gas.angle(at * 0.999999, MASSES) == 0).all()
    assert (gas.angle(at * 1.000001, MASSES) > 0).all()
    assert (gas.expected(at * 0.999, MASSES) == 0).all()


@pytest.mark.parametrize(("gas", "mrad"), [(RICH1, 53.0), (RICH2, 32.0)])
def test_saturated_rings(gas, mrad):
    assert saturated_angle(gas.index) * 1000 == pytest.approx(mrad, abs=0.5)  # 53 and 32 mrad in the literature
    assert gas.angle(1e9, PION) == pytest.approx(np.arccos(1 / gas.index), rel=1e-6)
    assert gas.expected(1e9, PION) == pytest.approx(gas.photons, rel=1e-6)


def test_angle_is_the_textbook_arccos():
    p = np.geomspace(10_000, 150_000, 50)
    beta = p / np.hypot(p, KAON)
    np.testing.assert_allclose(RICH1.angle(p, KAON), np.arccos(1 / (RICH1.index * beta)), rtol=1e-9)
    ratio = RICH1.expected(p, KAON) / RICH1.photons
    np.testing.assert_allclose(ratio, (1 - 1 / (RICH1.index * beta) ** 2) / (1 - 1 / RICH1.index**2), rtol=1e-9)


def test_textbook_separation_is_the_difference_of_angles_at_high_momentum():
    p = np.array([60_000.0, 100_000.0, 150_000.0])
    exact = (RICH2.angle(p, PION) - RICH2.angle(p, KAON)) / RICH2.resolution
    np.testing.assert_allclose(separation(p, PION, KAON, RICH2.index, RICH2.resolution), exact, rtol=0.06)
    np.testing.assert_allclose(
        separation(1e6, PION, KAON, 1.0005, 1.0), RICH2.angle(1e6, PION) - RICH2.angle(1e6, KAON), rtol=1e-3
    )


def test_acceptance_in_pseudorapidity():
    eta = np.array([2.0, 2.75, 2.85, 4.35, 4.4, 4.85, 4.95])
    assert RICH1.sees(eta).tolist() == [True, True, True, True, False, False, False]
    assert RICH2.sees(eta).tolist() == [False, False, True, True, True, True, False]
    assert SPECIES[1] == "kaon"


def test_a_radiator_is_checked():
    with pytest.raises(ValidationError, match=r"the acceptance goes from 0\.3 to 0\.1 rad; give the lower end first"):
        Radiator(name="air", index=1.0003, acceptance=(0.3, 0.1), photons=5, resolution=1e-3, background=0.1)
    with pytest.raises(ValidationError, match="greater than 1"):
        Radiator(name="vacuum", index=1.0, acceptance=(0.1, 0.3), photons=5, resolution=1e-3, background=0.1)
