"""Make the small sample of Pythia events that is shipped for those who have no Pythia: `hcal_particles.npz`.

    python benchmarks/store_hcal_particles.py [EVENTS]

Momenta are rounded to four digits and places to a tenth of a millimetre, and what cannot reach the calorimeter is left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from understudy.references import hcal_events
from understudy.references.hcal_flight import fly
from understudy.references.hcal_pythia import generate


def rounded(values: np.ndarray) -> np.ndarray:
    """Float32 with twelve bits of mantissa."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(mantissa * 4096) / 4096, exponent).astype(np.float32)


def main(events: int) -> None:
    """Generate and write."""
    made = generate(events, np.random.default_rng(2024))
    made = made[np.flatnonzero(fly(made).arrives | made.signal)]
    motion = {k: rounded(getattr(made, k)) for k in ("px", "py", "pz")}
    place = {k: np.rint(10 * getattr(made, k)).astype(np.int32) for k in ("x", "y", "z")}
    path = Path(hcal_events.__file__).parent / hcal_events.STORED
    counts = np.bincount(made.event, minlength=events).astype(np.int16)
    np.savez_compressed(path, counts=counts, pdg=made.pdg.astype(np.int16), signal=made.signal, **motion, **place)
    print(f"{path}: {events} events, {len(made)} particles, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
