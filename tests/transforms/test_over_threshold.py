"""Cells in the logarithm above their thresholds: closed forms, and what the inverse promises of any network's output."""

import pytest
import torch

from understudy.geometry import builtin
from understudy.schema import Block, Schema
from understudy.transforms.over_threshold import OverThreshold

GEOMETRY = builtin("atlas-em-89")
CUTS = {"presampler": 120.0, "strips": 60.0, "middle": 200.0, "back": 200.0}
LAYERS = Block("layer_energies", "MeV", shape=(4,), derived=True)
SCHEMA = Schema((LAYERS,), (Block("showers", "MeV", shape=(89,), minimum=0),))
LEAST = torch.as_tensor(GEOMETRY.per_layer(CUTS), dtype=torch.float32)


def a_transform(x, energies, **words):
    return OverThreshold(GEOMETRY, SCHEMA, CUTS, **words).fit(x, {"layer_energies": energies})


def sums(cells):
    return torch.stack([cells[:, s].sum(1) for s in GEOMETRY.slices.values()], 1)


def test_closed_form():
    x = torch.zeros(1, 89)
    x[0, 10], x[0, 60] = 60.0 * torch.e, 200.0 * torch.e**3
    y = a_transform(x, sums(x))(x, {})
    assert float(y[0, 10]) == pytest.approx(1, abs=1e-6)
    assert float(y[0, 60]) == pytest.approx(3, abs=1e-6)
    assert int((y != 0).sum()) == 2


@pytest.mark.parametrize("hits", ["rescaled", "kept"])
def test_whatever_a_network_draws_layers_hold_their_energy_and_cells_pass_their_threshold(hits):
    g = torch.Generator().manual_seed(1)
    y = torch.relu(2 * torch.randn(500, 89, generator=g))
    energies = torch.tensor([500.0, 3e3, 2e4, 900.0]) * (0.5 + torch.rand(500, 4, generator=g))
    energies[::3, 3] = 0
    x = a_transform(torch.zeros(1, 89), torch.zeros(1, 4), hits=hits).inverse(y, {"layer_energies": energies})
    assert not bool(((x > 0) & (x < LEAST * (1 - 1e-6))).any())
    found, hit = sums(x), sums((x > 0).float()) > 0
    torch.testing.assert_close(found[hit], energies[hit], rtol=1e-5, atol=0)
    assert float(found[::3, 3].abs().max()) == 0
    assert bool(hit[energies > 0].all())


def test_a_layer_that_is_drawn_without_a_cell_has_its_energy_in_the_highest():
    y = torch.full((1, 89), -5.0)
    y[0, 4], y[0, 60] = -0.5, 3.0
    energies = torch.tensor([[500.0, 0.0, 2e4, 0.0]])
    x = a_transform(torch.zeros(1, 89), torch.zeros(1, 4)).inverse(y, {"layer_energies": energies})
    assert float(x[0, 4]) == pytest.approx(500)
    assert float(x[0, 60]) == pytest.approx(2e4)
    assert int((x > 0).sum()) == 2


def test_no_cells_are_lacking_just_above_the_threshold_where_energies_are_scaled():
    """Cells drawn smoothly across their thresholds stay smooth there, whatever the layer is scaled by."""
    g = torch.Generator().manual_seed(3)
    y = torch.rand(4000, 89, generator=g) * 6 - 4
    energies = sums(torch.where(y > 0, LEAST * y.exp(), 0.0)) * (1 + 0.2 * torch.randn(4000, 4, generator=g)).clamp(min=0.5)
    energies = energies.clamp(min=250.0)
    x = a_transform(torch.zeros(1, 89), torch.zeros(1, 4)).inverse(y, {"layer_energies": energies})
    strips = x[:, GEOMETRY.slices["strips"]].flatten() / 60.0
    logs = strips[strips > 0].log()
    counts = torch.histc(logs, bins=10, min=0.0, max=0.5)
    # a cell that is only just above cannot stay there: counting it in scales its layer down by its part of the energy
    assert float(counts[0]) > 0.65 * float(counts[4:].mean())
    assert float(counts[1:3].min()) > 0.88 * float(counts[4:].mean())


def test_hits_are_kept_where_the_energy_suffices_and_what_is_above_thresholds_takes_one_factor():
    g = torch.Generator().manual_seed(4)
    y = 2 * torch.randn(300, 89, generator=g)
    drawn = torch.where(y > 0, LEAST * y.exp(), 0.0)
    base = torch.where(y > 0, LEAST, 0.0)
    energies = sums(base) + 0.4 * sums(drawn - base)
    x = a_transform(torch.zeros(1, 89), torch.zeros(1, 4), hits="kept").inverse(y, {"layer_energies": energies})
    torch.testing.assert_close(x, base + 0.4 * (drawn - base), rtol=2e-5, atol=1e-2)
    rescaled = a_transform(torch.zeros(1, 89), torch.zeros(1, 4)).inverse(y, {"layer_energies": energies})
    assert float((rescaled > 0).sum()) < 0.9 * float((x > 0).sum())  # a common factor loses the faint ones


def test_where_the_energy_does_not_suffice_for_all_hits_the_faintest_are_lost():
    y = torch.zeros(1, 89) - 1
    strips = GEOMETRY.slices["strips"]
    y[0, strips][:4] = torch.tensor([2.0, 1.0, 0.2, 0.1])
    energies = torch.tensor([[0.0, 200.0, 0.0, 0.0]])  # three strips hold 180 MeV at their thresholds, four 240 MeV
    x = a_transform(torch.zeros(1, 89), torch.zeros(1, 4), hits="kept").inverse(y, {"layer_energies": energies})[0, strips]
    assert float(x.sum()) == pytest.approx(200)
    assert 1 <= int((x > 0).sum()) <= 3
    assert bool(x[0] > 0)


def test_the_whole_showers_energy_serves_as_well():
    schema = Schema((Block("total_energy", "MeV", derived=True),), SCHEMA.response)
    transform = OverThreshold(GEOMETRY, schema, CUTS, by="total_energy").fit(torch.zeros(1, 89), {"total_energy": torch.ones(1)})
    y = torch.rand(20, 89, generator=torch.Generator().manual_seed(2))
    x = transform.inverse(y, {"total_energy": torch.full((20,), 5e4)})
    torch.testing.assert_close(x.sum(1), torch.full((20,), 5e4))


@pytest.mark.parametrize("power", [1.0, 0.5, 0.25, 0.125, 0.3, 1e-3])
def test_the_inverse_is_the_power_written_out(power):
    y = 5 * torch.rand(20, 89, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y[:, ::3] *= -1
    expected = torch.where(y > 0, LEAST * (1 + power * y.clamp(min=0)) ** (1 / power), 0.0)
    transform = OverThreshold(GEOMETRY, SCHEMA, CUTS, power=power).fit(torch.zeros(1, 89), {"layer_energies": torch.zeros(1, 4)})
    found = transform.inverse(y.float(), {"layer_energies": sums(expected).float()})
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=0)
    huge = transform.inverse(torch.full((1, 89), 1e9), {"layer_energies": torch.full((1, 4), 1e4)})
    torch.testing.assert_close(sums(huge), torch.full((1, 4), 1e4))


def test_cells_below_their_threshold_are_refused():
    x = torch.full((2, 89), 50.0)
    with pytest.raises(ValueError, match=r"178 cells hold something, but less than their threshold .* as a projection"):
        a_transform(x, sums(x))


def test_another_condition_is_refused():
    schema = Schema((Block("position", "mm", shape=(2,)),), SCHEMA.response)
    with pytest.raises(ValueError, match=r"'layer_energies' must hold the energy of each of the 4 layers.*position \(2\)"):
        OverThreshold(GEOMETRY, schema, CUTS)
