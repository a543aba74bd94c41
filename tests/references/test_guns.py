"""Particle guns: ranges, kinematics and bad input."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from understudy.references.guns import ELECTRON_MASS, ElectronGun, PhotonGun
from understudy.registry import validate


def test_log_uniform_spectrum():
    energy = PhotonGun().draw(20000, np.random.default_rng(1))["incident_energy"]
    log = stats.uniform(np.log(1000), np.log(60))
    assert stats.kstest(np.log(energy), log.cdf).pvalue > 1e-3


def test_uniform_and_fixed_spectrum():
    generator = np.random.default_rng(2)
    energy = PhotonGun(energy_range=(10.0, 20.0), spectrum="uniform").draw(20000, generator)["incident_energy"]
    assert stats.kstest(energy, stats.uniform(10, 10).cdf).pvalue > 1e-3
    assert (PhotonGun(energy_range=(5e4, 5e4), spectrum="fixed").draw(9, generator)["incident_energy"] == 5e4).all()


def test_photons_cover_the_cell():
    position = PhotonGun(cell=(2.0, 4.0)).draw(20000, np.random.default_rng(3))["position"]
    for axis, size in enumerate((2.0, 4.0)):
        assert stats.kstest(position[:, axis], stats.uniform(0, size).cdf).pvalue > 1e-3


def test_electron_is_on_its_mass_shell_with_uniform_slopes():
    drawn = ElectronGun(energy_range=(1.0, 10.0)).draw(20000, np.random.default_rng(4))
    momentum = drawn["momentum"]
    np.testing.assert_allclose(drawn["incident_energy"] ** 2, (momentum**2).sum(1) + ELECTRON_MASS**2, rtol=1e-12)
    for axis in (0, 1):
        assert stats.kstest(momentum[:, axis] / momentum[:, 2], stats.uniform(-0.15, 0.3).cdf).pvalue > 1e-3
        assert stats.kstest(drawn["position"][:, axis], stats.uniform(-5, 10).cdf).pvalue > 1e-3


def test_seed_repeats():
    first, second = (ElectronGun().draw(5, np.random.default_rng(6)) for _ in range(2))
    assert all((first[k] == second[k]).all() for k in first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"energy_range": (5.0, 1.0)}, "must go upwards"),
        ({"spectrum": "fixed"}, "equal ends"),
        ({"energy_range": (0.0, 1.0)}, "greater than 0"),
        ({"energy": 3}, "not permitted"),
        ({"energy_range": (0.5, 1.0)}, "above the mass"),
        ({"slope": -0.1}, "greater than or equal to 0"),
    ],
)
def test_bad_gun(arguments, message):
    with pytest.raises(ValidationError, match=message):
        ElectronGun(**arguments)


def test_gun_in_a_recipe_names_its_key():
    with pytest.raises(ValueError, match=r"reference\.gun.*upwards"):
        validate({"gun": (PhotonGun, PhotonGun())}, {"gun": {"energy_range": [2.0, 1.0]}}, "reference")
