"""How well the parametric showers agree with Geant4, and how fast they are.

    python benchmarks/gflash_against_geant4.py [--lhcb FILE.h5] [--atlas FILE.h5] [--geant4 N] [--speed] [--seed 1]

`--lhcb` and `--atlas` name Geant4 showers (30 x 30 cells of electrons; the 247-cell cluster of photons), which are compared
with parametric ones at the same conditions, in bins of energy. `--geant4 N` simulates electrons of 5 and 10 GeV (N each), of
20 GeV (N / 2) and of 40 GeV (N / 3) in the LHCb stack here, for the depth profile and the radial containment, which such
files do not hold. Every value has one standard deviation; the ratio is parametric over Geant4. Lines with `pass` or `FAIL`
are the agreement that the fit aims at, 5 % each: visible fraction, mean depth, shower maximum, every slice of the depth
that holds more than 5 % of the energy, containment in one and two Moliere radii, resolution. `--speed` is showers of
50 GeV per second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from understudy import storage
from understudy.geometry import Calorimeter, Layer
from understudy.references.geant4 import Geant4
from understudy.references.geant4_stack import Section as Geant4Section
from understudy.references.geant4_stack import Slab, Stack
from understudy.references.gflash_engine import Section, ShowerEngine
from understudy.references.gflash_medium import LHCB_ECAL
from understudy.references.guns import ElectronGun
from understudy.references.shower import LHCB_TUNING, ShowerSource, parametric_atlas, parametric_lhcb_ecal

ENERGY_BINS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
LAYERS, SIDE, PITCH = 66, 120, 4.0
"""Layers of the LHCb stack, and the fine cells [mm] for its containment."""

DEPTHS = (np.arange(LAYERS) + 0.5) * LHCB_ECAL.period / LHCB_ECAL.X0
"""Depths [X0] of the middles of the layers."""

ALLOWED = 0.05
"""Relative difference within which the parametrisation agrees."""

Measure = Callable[[np.ndarray], tuple[float, float]]


def mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and its error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def spread(values: np.ndarray) -> tuple[float, float]:
    """Standard deviation over the mean, and its error by the bootstrap."""
    generator = np.random.default_rng(0)
    draws = [values[generator.integers(0, len(values), len(values))] for _ in range(100)]
    return float(values.std() / values.mean()), float(np.std([d.std() / d.mean() for d in draws]))


def central_spread(values: np.ndarray) -> tuple[float, float]:
    """Half the central 68 % interval over the median, and its error by the bootstrap: a resolution without tails."""

    def width(v: np.ndarray) -> float:
        low, middle, high = np.percentile(v, (15.87, 50.0, 84.13))
        return float(0.5 * (high - low) / middle)

    generator = np.random.default_rng(0)
    return width(values), float(np.std([width(values[generator.integers(0, len(values), len(values))]) for _ in range(100)]))


def line(name: str, measure: Measure, reference: np.ndarray, candidate: np.ndarray, judged: bool = False) -> bool:
    """Print one row of the table; where it is judged, also whether the ratio is within `ALLOWED` of one. False if it is not."""
    (a, da), (b, db) = measure(reference), measure(candidate)
    error = abs(b / a) * np.hypot(da / a, db / b)
    passed = abs(b / a - 1) <= ALLOWED
    verdict = ("pass" if passed else "FAIL") if judged else ""
    print(f"  {name:<34}{a:10.5f} +- {da:.5f}  {b:10.5f} +- {db:.5f}   ratio {b / a:.4f} +- {error:.4f}  {verdict}".rstrip())
    return passed or not judged


def maximum(profiles: np.ndarray) -> tuple[float, float]:
    """Depth [X0] of the maximum of the mean profile, from a parabola in the logarithm around it, and its bootstrap error."""

    def peak(mean_profile: np.ndarray) -> float:
        top = int(mean_profile.argmax())
        rows = slice(max(top - 6, 0), top + 7)
        a, b, _ = np.polyfit(DEPTHS[rows], np.log(mean_profile[rows]), 2)
        return float(-b / (2 * a))

    generator = np.random.default_rng(0)
    draws = [peak(profiles[generator.integers(0, len(profiles), len(profiles))].mean(0)) for _ in range(100)]
    return peak(profiles.mean(0)), float(np.std(draws))


@dataclass(frozen=True)
class Pair:
    """Geant4's showers and parametric ones at the same conditions, `(n, cells)`, and the energies [MeV]."""

    energy: np.ndarray
    geant4: np.ndarray
    parametric: np.ndarray

    def each(self, observable: Callable[[np.ndarray, np.ndarray], np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """An observable of (cells, energy) for the chosen rows of both."""
        return observable(self.geant4[rows], self.energy[rows]), observable(self.parametric[rows], self.energy[rows])


def load(path: str, source: ShowerSource, seed: int) -> Pair:
    """Read Geant4's showers and simulate the same conditions."""
    events = storage.read(path, conditions=[b.name for b in source.schema.conditions])
    made = source.simulator.simulate(events.conditions, np.random.default_rng(seed))
    return Pair(
        np.asarray(events["incident_energy"], float), np.asarray(events["showers"], float), np.asarray(made["showers"], float)
    )


def bins(pair: Pair) -> list[tuple[str, np.ndarray]]:
    """The rows of each energy bin."""
    gev = pair.energy / 1000.0
    return [(f"{a:g}-{b:g} GeV", np.flatnonzero((gev >= a) & (gev < b))) for a, b in pairwise(ENERGY_BINS)]


def lhcb(path: str, seed: int) -> None:
    """Visible fraction, resolution and lateral shape of the LHCb stack."""
    source = parametric_lhcb_ecal()
    pair, centres = load(path, source, seed), source.geometry.layers[0].centres
    near = (abs(centres) < 60).all(1)

    def width(cells: np.ndarray, energy: np.ndarray) -> np.ndarray:
        x, inner = centres[near, 0], cells[:, near]
        centre = inner @ x / inner.sum(1)
        return np.asarray(np.sqrt((inner * (x - centre[:, None]) ** 2).sum(1) / inner.sum(1)))

    print(f"LHCb stack, {len(pair.energy)} electrons        Geant4                  parametric")
    for name, rows in bins(pair):
        line(f"{name} visible fraction", mean, *pair.each(lambda c, e: c.sum(1) / e, rows))
        line(
            f"{name} resolution * sqrt(E)",
            spread,
            *pair.each(lambda c, e: 1 + (c.sum(1) / e / 0.1725 - 1) * np.sqrt(e / 1e3), rows),
        )
        line(f"{name} hottest cell", mean, *pair.each(lambda c, e: c.max(1) / c.sum(1), rows))
        line(f"{name} width in 120 mm [mm]", mean, *pair.each(width, rows))


def atlas(path: str, seed: int) -> None:
    """Layer fractions, resolution and lateral shape of the ATLAS-like cluster."""
    source = parametric_atlas(geometry="atlas-em-247")
    pair, geometry = load(path, source, seed), source.geometry

    def fraction(layer: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        return lambda c, e: c[:, geometry.slices[layer]].sum(1) / e

    def accordion(cells: np.ndarray, energy: np.ndarray) -> np.ndarray:
        return np.asarray(cells[:, geometry.slices["strips"].start :].sum(1) / energy)

    def strips(cells: np.ndarray) -> np.ndarray:
        return np.asarray(geometry.images(cells)["strips"].sum(2)) + 1e-9

    def strip_width(cells: np.ndarray, energy: np.ndarray) -> np.ndarray:
        profile, eta = strips(cells), np.arange(56)
        centre = profile @ eta / profile.sum(1)
        return np.asarray(np.sqrt((profile * (eta - centre[:, None]) ** 2).sum(1) / profile.sum(1)))

    def r_eta(cells: np.ndarray, energy: np.ndarray) -> np.ndarray:
        middle = geometry.images(cells)["middle"]
        return np.asarray(middle[:, 2:5].sum((1, 2)) / middle.sum((1, 2)))

    def r_phi(cells: np.ndarray, energy: np.ndarray) -> np.ndarray:
        middle = geometry.images(cells)["middle"][:, 2:5]
        return np.asarray(middle[:, :, 4:7].sum((1, 2)) / middle.sum((1, 2)))

    print(f"ATLAS-like cluster, {len(pair.energy)} photons       Geant4                  parametric")
    for name, rows in bins(pair):
        for layer in geometry.layer_names:
            line(f"{name} {layer} / E", mean, *pair.each(fraction(layer), rows))
        line(f"{name} accordion / E", mean, *pair.each(accordion, rows))
        line(f"{name} accordion resolution", central_spread, *pair.each(accordion, rows))
        line(f"{name} cluster resolution", central_spread, *pair.each(lambda c, e: c.sum(1) / e, rows))
        line(f"{name} strip width [strips]", mean, *pair.each(strip_width, rows))
        line(f"{name} hottest strip", mean, *pair.each(lambda c, e: strips(c).max(1) / strips(c).sum(1), rows))
        line(f"{name} R_eta (3x11 / 7x11)", mean, *pair.each(r_eta, rows))
        line(f"{name} R_phi (3x3 / 3x11)", mean, *pair.each(r_phi, rows))


def fine_geant4(n: int, energy: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Energies of the layers `(n, 66)` and of the fine cells `(n, 120, 120)` from Geant4, electrons in the middle of the face."""
    slabs = (Slab(material="G4_Pb", thickness=2), Slab(material="G4_PLASTIC_SC_VINYLTOLUENE", thickness=4, active=True))
    section = Geant4Section(name="ecal", slabs=slabs, repeat=LAYERS, cells=(SIDE, SIDE))
    stack = Stack(name="fine", size=(SIDE * PITCH, SIDE * PITCH), sections=(section,))
    generator = np.random.default_rng(seed)
    gun = ElectronGun(energy_range=(energy, energy), spectrum="fixed", slope=0.0, spot=0.0)
    events = Geant4(stack, depth_profile=True).simulate(gun.draw(n, generator), generator)
    return np.asarray(events["depth_profile"], float), np.asarray(events["showers"], float).reshape(-1, SIDE, SIDE)


def fine_parametric(n: int, energy: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same from the parametrisation: once with a readout layer by layer, once with fine cells."""
    depth = LHCB_ECAL.period / LHCB_ECAL.X0
    half = SIDE * PITCH / 2

    def shoot(layers: tuple[Layer, ...], sections: tuple[Section, ...]) -> np.ndarray:
        engine = ShowerEngine(Calorimeter("fine", layers), LHCB_ECAL, sections, LHCB_TUNING)
        return np.asarray(
            engine.shower(np.full(n, energy), np.zeros((n, 2)), np.zeros((n, 2)), np.random.default_rng(seed)), float
        )

    face = ((-half, half), (-half, half))
    slices = tuple(Layer(f"layer_{i}", face, ("x", "y"), ("mm", "mm")) for i in range(LAYERS))
    profile = shoot(slices, tuple(Section(depth, layer.name) for layer in slices))
    cells = Layer.grid("cells", (SIDE, SIDE), (PITCH, PITCH), (-half, -half), axes=("x", "y"), units=("mm", "mm"))
    return profile, shoot((cells,), (Section(LAYERS * depth, "cells"),)).reshape(-1, SIDE, SIDE)


def profiles(n: int, seed: int) -> None:
    """Depth profile, containment and resolution of the LHCb stack, and whether they agree."""
    failed = []
    for energy, number in ((5e3, n), (1e4, n), (2e4, n // 2), (4e4, n // 3)):
        number = max(number, 20)
        print(f"LHCb stack, {number} electrons of {energy / 1e3:g} GeV    Geant4                  parametric")
        rows = agreement(energy, fine_geant4(number, energy, seed), fine_parametric(2000, energy, seed))
        failed += [f"{energy / 1e3:g} GeV {name}" for name, passed in rows if not passed]
    print(f"agreement within {100 * ALLOWED:g} %: {'all' if not failed else 'all but ' + ', '.join(failed)}")


def agreement(
    energy: float, geant4: tuple[np.ndarray, np.ndarray], parametric: tuple[np.ndarray, np.ndarray]
) -> list[tuple[str, bool]]:
    """Print the table of one energy [MeV] from layer energies and fine cells; the lines' names and whether they pass."""
    (depth_a, cells_a), (depth_b, cells_b) = geant4, parametric
    found: list[tuple[str, bool]] = []

    def judge(name: str, measure: Measure, a: np.ndarray, b: np.ndarray, judged: bool = True) -> None:
        found.append((name, line(name, measure, a, b, judged)))

    judge("visible fraction", mean, depth_a.sum(1) / energy, depth_b.sum(1) / energy)
    judge("resolution", spread, depth_a.sum(1), depth_b.sum(1))
    judge("mean depth [X0]", mean, depth_a @ DEPTHS / depth_a.sum(1), depth_b @ DEPTHS / depth_b.sum(1))
    judge("shower maximum [X0]", maximum, depth_a, depth_b)
    judge("spread of the mean depth / mean", spread, depth_a @ DEPTHS / depth_a.sum(1), depth_b @ DEPTHS / depth_b.sum(1), False)
    for start in range(0, LAYERS, 6):
        a, b = (d[:, start : start + 6].sum(1) / d.sum(1).mean() for d in (depth_a, depth_b))
        half = 0.5 * (DEPTHS[1] - DEPTHS[0])
        name = f"depth {DEPTHS[start] - half:.1f} to {DEPTHS[start + 5] + half:.1f} X0"
        judge(name, mean, a, b, bool(a.mean() > 0.05))
    along = (np.arange(SIDE) - (SIDE - 1) / 2) * PITCH
    radius = np.hypot(*np.meshgrid(along, along))
    for k in (0.5, 1, 2, 4):
        a, b = (c[:, radius < k * LHCB_ECAL.Rm].sum(1) / c.sum((1, 2)) for c in (cells_a, cells_b))
        judge(f"containment in {k:g} Moliere radii", mean, a, b, k in (1, 2))
    for k in (1, 2, 5):
        inner = slice(SIDE // 2 - k, SIDE // 2 + k)
        a, b = (c[:, inner, inner].sum((1, 2)) / c.sum((1, 2)) for c in (cells_a, cells_b))
        judge(f"containment in {2 * k * PITCH:g} x {2 * k * PITCH:g} mm2", mean, a, b, False)
    return found


def speed(seed: int) -> None:
    """Showers of 50 GeV per second, the best of five; set OMP_NUM_THREADS=1 for one core."""
    n = 2000
    for source in (parametric_atlas(), parametric_atlas(geometry="atlas-em-247"), parametric_lhcb_ecal()):
        conditions = source.gun.draw(n, np.random.default_rng(seed))
        scale = 5e4 / conditions["incident_energy"]
        conditions["incident_energy"] = np.full(n, 5e4)
        if "momentum" in conditions:
            conditions["momentum"] = conditions["momentum"] * scale[:, None]
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            source.simulator.simulate(conditions, np.random.default_rng(seed))
            seconds.append(time.perf_counter() - start)
        best, usual = n / min(seconds), n / np.median(seconds)
        print(f"{source.geometry.name:<14} {best:7.0f} showers of 50 GeV per second (median {usual:.0f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lhcb", metavar="FILE", help="Geant4 electrons in the LHCb stack")
    parser.add_argument("--atlas", metavar="FILE", help="Geant4 photons in the ATLAS-like box, 247 cells")
    parser.add_argument("--geant4", metavar="N", type=int, default=0, help="simulate N electrons with Geant4 for the profiles")
    parser.add_argument("--speed", action="store_true", help="measure showers per second")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    if not (chosen.lhcb or chosen.atlas or chosen.geant4 or chosen.speed):
        parser.error("choose at least one of --lhcb, --atlas, --geant4 and --speed")
    if chosen.speed:
        speed(chosen.seed)
    if chosen.lhcb:
        lhcb(chosen.lhcb, chosen.seed)
    if chosen.atlas:
        atlas(chosen.atlas, chosen.seed)
    if chosen.geant4:
        profiles(chosen.geant4, chosen.seed)


if __name__ == "__main__":
    main()
