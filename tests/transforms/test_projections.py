from __future__ import annotations

import pytest
import torch

from understudy import registry
from understudy.geometry import builtin
from understudy.transforms.projections import Cap, NonNegative, Threshold

GEOMETRY = builtin("atlas-em-89")
CUTS = {"presampler": 120.0, "strips": 60.0, "middle": 200.0, "back": 200.0}


@pytest.mark.parametrize(("layer", "cut"), CUTS.items())
def test_threshold_is_exact_at_the_cut(layer: str, cut: float) -> None:
    energies = torch.tensor([cut, 0.0, -1.0, cut + 1, 1e6, float(torch.nextafter(torch.tensor(cut), torch.tensor(0.0)))])
    response = energies[:, None].repeat(1, 89)
    kept = Threshold(GEOMETRY, layers=CUTS)(response, {})[:, GEOMETRY.slices[layer]]
    expected = torch.tensor([cut, 0.0, 0.0, cut + 1, 1e6, 0.0])
    assert torch.equal(kept, expected[:, None].repeat(1, GEOMETRY.layer(layer).n_cells))


def test_threshold_cell_by_cell() -> None:
    response = 400 * torch.rand(20, 89, generator=torch.Generator().manual_seed(1))
    found = Threshold(GEOMETRY, layers=CUTS)(response, {})
    for i, layer in enumerate(GEOMETRY.layer_of_cell):
        cut = CUTS[GEOMETRY.layer_names[layer]]
        for event in range(20):
            energy = float(response[event, i])
            assert float(found[event, i]) == (0.0 if energy < cut else energy)


def test_one_cut_for_all_cells_fits_any_width() -> None:
    assert torch.equal(Threshold(energy=2.0)(torch.tensor([[1.0, 2.0, 3.0]]), {}), torch.tensor([[0.0, 2.0, 3.0]]))
    assert torch.equal(Threshold(energy=0.0)(torch.tensor([[-1.0, 0.0]]), {}), torch.tensor([[0.0, 0.0]]))


def test_cap_and_non_negative() -> None:
    response = torch.tensor([[-1.0, 2.0, 300.0]])
    assert torch.equal(Cap(energy=100.0)(response, {}), torch.tensor([[-1.0, 2.0, 100.0]]))
    assert torch.equal(NonNegative()(response, {}), torch.tensor([[0.0, 2.0, 300.0]]))
    capped = Cap(GEOMETRY, layers=CUTS)(torch.full((1, 89), 1e4), {})
    assert torch.equal(capped[0], torch.as_tensor(GEOMETRY.per_layer(CUTS), dtype=torch.float32))


def test_a_nan_is_not_hidden() -> None:
    response = torch.full((1, 89), torch.nan)
    for projection in (Threshold(GEOMETRY, layers=CUTS), Cap(energy=1.0), NonNegative()):
        assert bool(projection(response, {}).isnan().all())


@pytest.mark.parametrize("kind", [Threshold, Cap])
def test_wrong_arguments_are_refused(kind: type[Threshold] | type[Cap]) -> None:
    with pytest.raises(ValueError, match="either layers"):
        kind(GEOMETRY)
    with pytest.raises(ValueError, match="either layers"):
        kind(GEOMETRY, layers=CUTS, energy=1.0)
    with pytest.raises(ValueError, match="name its geometry"):
        kind(None, layers=CUTS)
    with pytest.raises(ValueError, match="do not fit 'atlas-em-89'"):
        kind(GEOMETRY, layers={"presampler": 1.0})
    with pytest.raises(ValueError, match=r"energy: -1\.0 is no energy"):
        kind(energy=-1.0)
    with pytest.raises(ValueError, match=r"has 89 cells, but the response has shape \(2, 1\)"):
        kind(GEOMETRY, layers=CUTS)(torch.ones(2, 1), {})


def test_wrong_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layers.back: input should be greater than or equal to 0"):
        registry.factory("projections", {"kind": "threshold", "layers": {"back": -1}}, "projections[0]")
    with pytest.raises(ValueError, match="unknown key 'layer'"):
        registry.factory("projections", {"kind": "threshold", "layer": {}}, "projections[0]")
