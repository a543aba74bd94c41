r"""The energy of a particle from what collider files hold, $E = p_T \cosh\eta$ (massless, as a photon is)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from understudy.schema import Array

TRUE_PT, TRUE_ETA, TRUE_ENERGY = "true_pt", "true_eta", "true_energy"
"""Names of the conditions: transverse momentum [MeV], pseudorapidity, energy [MeV]."""


def true_energy(conditions: Mapping[str, Any]) -> Array:
    """The particles' energies `(n,)` [MeV] from `true_pt` [MeV] and `true_eta`.

    Raises:
        ValueError: one of the two is missing.
    """
    if missing := [name for name in (TRUE_PT, TRUE_ETA) if name not in conditions]:
        raise ValueError(
            f"the true energy is true_pt * cosh(true_eta), but the conditions lack {' and '.join(missing)};"
            f" they are {', '.join(conditions) or 'none'}"
        )
    pt, eta = (np.asarray(conditions[name], np.float64).reshape(-1) for name in (TRUE_PT, TRUE_ETA))
    return np.asarray(pt * np.cosh(eta))
