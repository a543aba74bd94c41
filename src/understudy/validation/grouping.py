"""Which figures of a report stand together: one quantity of all layers, or what belongs together by its meaning."""

from __future__ import annotations

import re

from understudy.geometry import Calorimeter

GROUPS = {
    "energy": "Energy per layer",
    "fraction": "Fraction of the energy per layer",
    "core_fraction": "Shower core: 3 × 3 cells over the layer",
    "max_fraction": "Hottest cell over the layer",
    "hits": "Cells above threshold",
}
ALONE = "Shower core and cells above threshold"
"""What these are together where the calorimeter has one layer."""
SINGLE = {
    "residual_": "Regressor closure",
    "asymmetry_": "Asymmetry about the impact point",
    "radius_": "Containment radius",
    "width_along": "Shower width along and across the direction of flight",
    "width_across": "Shower width along and across the direction of flight",
}
"""Groups of observables by the beginning of their names, whatever the layer."""
CURVE_GROUPS = {
    "Regressor closure": ("^residual_",),
    "Energy": ("^response_", "^resolution", "difference", "^linearity"),
    "Impact point and direction": ("^s_curve", "_vs_impact$", "_vs_slope$"),
    "Profiles": ("_profile", "_vs_threshold$", "^cell_energies"),
}
"""Groups of curves by patterns of their names."""
OTHER_CURVES = "Shower shape against the energy"
GREEK = {"eta": "η", "phi": "φ", "alpha": "α"}


def observable_group(name: str, geometry: Calorimeter | None) -> str:
    """The group of an observable by its name."""
    if geometry is None:
        return "Response"
    together = next((words for start, words in SINGLE.items() if name.startswith(start)), None)
    if together is not None:
        return together
    layer = max((n for n in geometry.layer_names if name.endswith(f"_{n}")), key=len, default=None)
    if layer is None:
        return "Whole shower"
    kind, alone = name[: -len(layer) - 1], len(geometry.layers) == 1
    for start, words in (("mean_", "Energy-weighted mean"), ("width_", "Shower width")):
        if kind.startswith(start):
            axis = kind.removeprefix(start)
            return words if alone else f"{words} in {GREEK.get(axis, axis)}"
    if alone and kind in GROUPS:
        return ALONE
    return GROUPS.get(kind, kind.replace("_", " "))


def curve_group(name: str) -> str:
    """The group of a curve by its name."""
    return next((group for group, parts in CURVE_GROUPS.items() if any(re.search(p, name) for p in parts)), OTHER_CURVES)
