"""The numbers that the Geant4 reference must reproduce, measured beside their expected values.

    python benchmarks/geant4_testem3.py [--events 400] [--processes 2] [--seed 1]

TestEm3: Geant4's own output for 1 GeV electrons on 50 x (2.3 mm Pb + 5.7 mm liquid argon), cut 1 mm. The other expected
values are those of independent applications with the same stacks, Geant4 11.4 and G4EmStandardPhysics, cut 0.7 mm; those of
the ATLAS-like box are from the showers between 9 and 11 GeV of a sample of 20,000. Times are processor time of the workers
less that of their start, so that they mean something on a busy machine too; a core shared with others is still slower.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from understudy.events import Events
from understudy.references.geant4 import CHUNK, Geant4
from understudy.references.geant4_stack import Section, Stack, ready
from understudy.references.guns import ElectronGun, PhotonGun

LEAD_RADIATION_LENGTH, SCINTILLATOR_RADIATION_LENGTH = 5.612, 425.4
MOLIERE_RADIUS = 36.0
ENERGIES_GEV = (1, 2, 5, 10, 20, 50)


def mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def relative_width(values: np.ndarray) -> tuple[float, float]:
    """Standard deviation over mean, with its standard error for a normal distribution."""
    width = float(values.std(ddof=1) / values.mean())
    return width, width / np.sqrt(2 * (len(values) - 1))


def bootstrap(function: Callable[[np.ndarray], float], rows: np.ndarray, generator: np.random.Generator) -> tuple[float, float]:
    """A function of a sample of rows, with its bootstrap error."""
    draws = [function(rows[generator.integers(0, len(rows), len(rows))]) for _ in range(100)]
    return function(rows), float(np.std(draws, ddof=1))


def line(what: str, measured: tuple[float, float], expected: str, scale: float = 1.0) -> None:
    print(f"{what:<58} {scale * measured[0]:9.3f} +- {scale * measured[1]:6.3f}   {expected}", flush=True)


def processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cost(simulator: Geant4, shot: Mapping[str, np.ndarray], generator: np.random.Generator) -> tuple[Events, float]:
    """The events, and processor time [s] less that of starting the workers."""
    started = processor_time()
    replace(simulator, processes=1).simulate({name: values[:1] for name, values in shot.items()}, generator)
    start = processor_time() - started
    started = processor_time()
    events = simulator.simulate(shot, generator)
    workers = min(simulator.processes or 1, -(-len(events) // CHUNK))
    return events, processor_time() - started - workers * start


def testem3(events: int, processes: int, generator: np.random.Generator) -> None:
    simulator = Geant4(ready("testem3"), slopes=False, cut=1.0, processes=processes, deposits=True)
    shot = {"incident_energy": np.full(events, 1000.511), "position": np.zeros((events, 2))}
    lead, argon = simulator.simulate(shot, generator)["deposits"].astype(float).T
    line("TestEm3, Pb [MeV]", mean(lead), "774.03 +- 1.46 (Geant4's own), 775.06 +- 0.37")
    line("TestEm3, LAr [MeV]", mean(argon), "215.74 +- 1.34 (Geant4's own), 214.86 +- 0.35")


def peak(profiles: np.ndarray, depths: np.ndarray) -> float:
    """Depth of the maximum of the mean profile, from a gamma-shaped fit of its logarithm near the maximum."""
    profile = profiles.mean(0)
    near = profile > 0.5 * profile.max()
    t = depths[near]
    b, a, _ = np.linalg.lstsq(np.stack([-t, np.log(t), np.ones_like(t)], 1), np.log(profile[near]), rcond=None)[0]
    return float(a / b)


def fine_lhcb_ecal() -> Stack:
    """The LHCb-like stack in cells of 4 mm, for radial containment."""
    stack = ready("lhcb-ecal")
    section = stack.sections[0]
    return Stack(name="fine", size=stack.size, sections=(Section(**{**dict(section), "cells": (150, 150)}),))


def lhcb_ecal(events: int, processes: int, generator: np.random.Generator) -> None:
    stack = ready("lhcb-ecal")
    layer = stack.sections[0].layer_thickness
    lead, plastic = (slab.thickness for slab in stack.sections[0].slabs)
    radiation_length = layer / (lead / LEAD_RADIATION_LENGTH + plastic / SCINTILLATOR_RADIATION_LENGTH)
    simulator = Geant4(stack, slopes=False, processes=processes, depth_profile=True)
    peaks, spent, total = [], 0.0, 0.0
    for energy_gev in ENERGIES_GEV:
        n = max(round(events / energy_gev**0.7), 20)
        shot = {"incident_energy": np.full(n, 1000.0 * energy_gev), "position": generator.uniform(-5, 5, (n, 2))}
        answer, seconds = cost(simulator, shot, generator)
        spent, total = spent + seconds, total + n * energy_gev
        visible = answer["showers"].sum(1, dtype=float) / shot["incident_energy"]
        line(f"LHCb stack, visible fraction at {energy_gev} GeV ({n} events)", mean(visible), "0.172-0.173")
        line("  resolution x sqrt(E/GeV) [%]", relative_width(visible), "7.6-8.3", 100 * np.sqrt(energy_gev))
        depths = stack.layer_depths() / radiation_length
        peaks.append(bootstrap(lambda rows, depths=depths: peak(rows, depths), answer["depth_profile"].astype(float), generator))
    slope, covariance = np.polyfit(np.log(ENERGIES_GEV), [p for p, _ in peaks], 1, w=[1 / e for _, e in peaks], cov="unscaled")
    line(
        "  shower maximum, slope per ln E [X0]", (slope[0] if np.ndim(slope) else slope, covariance[0, 0] ** 0.5), "1.12, about 1"
    )
    print(f"{'  processor time, normal incidence [ms/GeV]':<58} {1e3 * spent / total:9.2f}             6.4")
    containment(events, processes, generator)


def containment(events: int, processes: int, generator: np.random.Generator) -> None:
    stack, n = fine_lhcb_ecal(), max(events // 8, 20)
    shot = {"incident_energy": np.full(n, 10000.0), "position": np.zeros((n, 2))}
    showers = Geant4(stack, slopes=False, processes=processes).simulate(shot, generator)["showers"].astype(float)
    inside = np.linalg.norm(stack.calorimeter().layers[0].centres, axis=1) < MOLIERE_RADIUS
    line("  visible energy within 36 mm at 10 GeV [%]", mean(showers[:, inside].sum(1) / showers.sum(1)), "88, about 90", 100)


def atlas_lar(events: int, processes: int, generator: np.random.Generator) -> None:
    n = max(events // 2, 20)
    simulator = Geant4(ready("atlas-lar"), "gamma", slopes=False, processes=processes, depth_profile=True)
    shot = PhotonGun(energy_range=(10000, 10000), spectrum="fixed").draw(n, generator)
    answer, spent = cost(simulator, shot, generator)
    accordion = answer["depth_profile"][:, 1:].sum(1, dtype=float)
    images = simulator.geometry.images(answer["showers"].astype(float))
    middle = images["middle"]
    line("ATLAS box, 10 GeV photons: accordion resolution [%]", relative_width(accordion), "2.59 +- 0.06", 100)
    ratio = middle[:, 2:5, 2:9].sum((1, 2)) / middle[:, 0:7, 2:9].sum((1, 2))
    line("  R_eta = E(3x7) / E(7x7) in the middle", mean(ratio), "0.9605 +- 0.0003")
    strips = images["strips"].sum((1, 2)) / answer["showers"].sum(1, dtype=float)
    line("  strips over all cells", mean(strips), "0.281 +- 0.004")
    print(f"{'  processor time, photons [ms/GeV]':<58} {1e2 * spent / n:9.2f}             9.1")


def speed(events: int, processes: int, generator: np.random.Generator) -> None:
    simulator = Geant4(ready("lhcb-ecal"), processes=processes)
    shot = ElectronGun().draw(max(events // 4, 20), generator)
    answer, spent = cost(simulator, shot, generator)
    per_gev = 1e6 * spent / float(answer["incident_energy"].sum())
    print(f"{'LHCb stack, electrons 1-60 GeV with slopes [ms/GeV]':<58} {per_gev:9.2f}             6.4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    print(f"{'quantity':<58} {'measured':>19}   expected")
    for part in (testem3, lhcb_ecal, atlas_lar, speed):
        part(options.events, options.processes, generator)


if __name__ == "__main__":
    main()
