"""The figure of true minus reconstructed energy holds every event, and its lines are quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from understudy.validation import figures
from understudy.validation.figures_energy import LEVELS, columns, difference_figure, quantiles


def sample(n: int = 6000, seed: int = 1, scale: float = 0.9) -> tuple[np.ndarray, np.ndarray, None]:
    rng = np.random.default_rng(seed)
    energy = np.exp(rng.uniform(np.log(1e3), np.log(6e4), n))
    return energy, scale + 0.1 / np.sqrt(energy / 1e3) * rng.normal(size=n), None


def test_every_column_holds_all_of_its_events() -> None:
    energy, response, _ = sample()
    response[:50] = np.nan
    across, up = np.geomspace(999, 60_001, 7), np.linspace(0.05, 0.15, 11)
    found = columns(energy, response, None, across, up)
    np.testing.assert_allclose(found.sum(1), 1)
    for k in range(6):
        inside = (energy >= across[k]) & (energy < across[k + 1]) & np.isfinite(response)
        assert found[k, 0] == pytest.approx(np.mean(1 - response[inside] < up[1]))  # those below all bins as well
        assert found[k, -1] == pytest.approx(np.mean(1 - response[inside] >= up[-2]))
    doubled = columns(np.tile(energy, 2), np.tile(response, 2), None, across, up)
    np.testing.assert_allclose(columns(energy, response, np.full(len(energy), 2.0), across, up), doubled)


def test_lines_are_quantiles() -> None:
    energy, response, _ = sample()
    across = np.geomspace(999, 60_001, 5)
    found = quantiles(energy, response, None, across)
    for k in range(4):
        inside = (energy >= across[k]) & (energy < across[k + 1])
        np.testing.assert_allclose(found[k], np.quantile(1 - response[inside], LEVELS), atol=2e-3)
    repeated = quantiles(np.repeat(energy, 3), np.repeat(response, 3), None, across)
    np.testing.assert_allclose(quantiles(energy, response, np.full(len(energy), 3.0), across), repeated)


def test_columns_with_few_events_are_empty() -> None:
    energy, response = np.array([1e3] * 9 + [5e3] * 10), np.linspace(0.8, 1.0, 19)
    across = np.array([500.0, 2000.0, 9000.0])
    assert np.isnan(columns(energy, response, None, across, np.linspace(0, 0.3, 4))).all(1).tolist() == [True, False]
    assert np.isnan(quantiles(energy, response, None, across)).all(1).tolist() == [True, False]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_all_samples_have_the_same_axes_and_colours(number: int) -> None:
    drawn = difference_figure({f"sample {i}": sample(2000, i, 0.9 - 0.02 * i) for i in range(number)})
    assert drawn is not None
    panels = [axes for axes in drawn.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [f"sample {i}" for i in range(number)]
    meshes = [c for axes in panels for c in axes.collections if isinstance(c, QuadMesh)]
    assert len({(m.norm.vmin, m.norm.vmax) for m in meshes}) == 1
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
    assert panels[0].get_xscale() == "log"
    assert [len(axes.patches) for axes in panels] == [3] + [6] * (number - 1)
    assert figures.png(drawn, "").data


def test_one_energy_or_one_response_has_no_such_figure() -> None:
    energy, response, _ = sample(100)
    assert difference_figure({"a": (np.full(100, 1e4), response, None)}) is None
    assert difference_figure({"a": (energy, np.full(100, 0.5), None)}) is None
    assert difference_figure({"a": (energy, np.full(100, np.nan), None)}) is None
    linear = difference_figure({"a": (np.linspace(1e4, 5e4, 100), response, np.linspace(-0.1, 1, 100))})
    assert linear is not None
    assert linear.axes[0].get_xscale() == "linear"
