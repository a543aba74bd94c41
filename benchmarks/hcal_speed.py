"""Time of whole HCAL events against batch size, as the thesis plots it, and milliseconds per event on one thread, by family.

    python benchmarks/hcal_speed.py [--events 60000] [--seconds 20] [--recipes lhcb-hcal-tip lhcb-hcal-tip-pix2pix ...]
        [--run runs/lhcb-hcal-tip] [--pipeline runs/lhcb-hcal-cir --tracks events.h5] [--picture hcal_speed.png]

Untrained networks are as fast as trained ones: by default recipes are built, not trained, and run by ONNX Runtime on one thread.
Of each batch size as many events are simulated as `--seconds` allow, up to `--events`; the time of `--events` is scaled from
them, and the number that was timed is printed. Noise is drawn within the time. The thesis: 60,000 events in 480 s, 125 per
second, on a P100.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from understudy import hcal_geometry as hcal
from understudy import storage
from understudy.build import build_surrogate
from understudy.deployment.bundle import read_trained
from understudy.deployment.export import export_graphs
from understudy.deployment.pipeline import load_pipeline
from understudy.deployment.runtime import Session
from understudy.domain import Domain
from understudy.geometry import builtin
from understudy.recipe import Recipe
from understudy.recipes import shipped
from understudy.schema import Schema
from understudy.surrogate import Surrogate
from understudy.versions import hardware

BATCHES = (1, 10, 100, 500)


def untrained(name: str) -> Surrogate:
    """The surrogate of a recipe of tracker images, its constants fitted to a few random images."""
    recipe = Recipe.load(name)
    rng = np.random.default_rng(0)
    hit = rng.random((64, *hcal.SHAPE)) < 0.05
    image = np.where(hit, np.minimum(rng.lognormal(4.5, 1.2, hit.shape), hcal.pixel_caps()), 0).astype(np.float32)
    image = np.where(image < hcal.pixel_caps(hcal.COUNT), 0, image)
    schema = Schema((hcal.TRACKER_IMAGE,), (hcal.CELLS,))
    surrogate = build_surrogate(recipe, schema, builtin("lhcb-hcal"), Domain({}, {}, {}), torch.Generator().manual_seed(0))
    given, cells = {hcal.TRACKER_IMAGE.name: torch.from_numpy(image)}, torch.from_numpy(image).flatten(1)
    surrogate.last.encoder.fit(given)
    surrogate.last.transforms.fit(cells, given)
    return surrogate.eval()


def timed(step: Callable[[], object], batch: int, events: int, seconds: float) -> tuple[float, int]:
    """Milliseconds per event of a step that makes `batch` of them, and how many events that was found from."""
    step()
    done, began = 0, time.perf_counter()
    while done < events and (not done or time.perf_counter() - began < seconds):
        step()
        done += batch
    return 1e3 * (time.perf_counter() - began) / done, done


def measured(
    session: Session, noise: int, batch: int, events: int, seconds: float, name: str = hcal.TRACKER_IMAGE.name
) -> tuple[float, int]:
    """`timed` for a network on images, the condition `name`; noise is drawn within the time."""
    rng = np.random.default_rng(1)
    image = {name: (rng.random((batch, *hcal.SHAPE)) < 0.01).astype(np.float32) * 2000}
    return timed(lambda: session.run(rng.standard_normal((batch, noise), dtype=np.float32), image), batch, events, seconds)


def both_steps(run: str, tracks: Path, events: int, seconds: float) -> list[tuple[float, int]]:
    """`timed` for a finished run from tracks to the refined image, of the first tracks of a file."""
    pipeline, rng = load_pipeline(run, threads=1), np.random.default_rng(1)
    with storage.reader(tracks) as file:
        known = file.read(0, max(BATCHES))[hcal.TRACKS.name]
    return [timed(lambda b=b: pipeline.simulate({hcal.TRACKS.name: known[:b]}, rng), b, events, seconds) for b in BATCHES]


def main() -> None:
    """Print a table, and draw the picture if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--recipes", nargs="*", default=sorted(n for n in shipped() if n.startswith("lhcb-hcal-tip")))
    parser.add_argument("--run", help="a finished run in place of untrained recipes")
    parser.add_argument("--pipeline", help="a finished run with two steps, timed from tracks on")
    parser.add_argument("--tracks", type=Path, help="events for it, which hold tracks")
    parser.add_argument("--picture")
    asked = parser.parse_args()
    named = {asked.run: read_trained(Path(asked.run))[0]} if asked.run else {name: untrained(name) for name in asked.recipes}
    curves = {}
    print(f"{hardware()}, one thread, ONNX Runtime; milliseconds per event (events timed)")
    print(f"{'':28}" + "".join(f"{f'batch {b}':>22}" for b in BATCHES))
    for name, surrogate in named.items():
        with tempfile.TemporaryDirectory() as folder:
            session = Session(export_graphs(surrogate, Path(folder))[0].path, threads=1)
            found = [measured(session, surrogate.noise_size, b, asked.events, asked.seconds) for b in BATCHES]
        curves[name] = [1e-3 * ms * asked.events for ms, _ in found]
        print(f"{name:28}" + "".join(f"{f'{ms:.2f} ({n:,})':>22}" for ms, n in found), flush=True)
    if asked.pipeline:
        found = both_steps(asked.pipeline, asked.tracks, asked.events, asked.seconds)
        name = f"{Path(asked.pipeline).name} from tracks"
        curves[name] = [1e-3 * ms * asked.events for ms, _ in found]
        print(f"{name:28}" + "".join(f"{f'{ms:.2f} ({n:,})':>22}" for ms, n in found), flush=True)
    if asked.picture:
        draw(curves, asked.events, asked.picture)


def draw(curves: dict[str, list[float]], events: int, path: str) -> None:
    """Seconds for all events against the batch size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, seconds in curves.items():
        axes.plot(BATCHES, seconds, "o-", label=name)
    axes.axhline(events / 125, color="k", ls="--", lw=1, label="thesis, P100: 125 per second")
    axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel=f"seconds for {events:,} events on one thread")
    figure.legend(fontsize=7, ncols=2, loc="outside upper center")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
