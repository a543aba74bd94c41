"""Finished runs beside what somebody would pick instead, on the same showers: AUCs with floor, ms/shower, training minutes.

    python benchmarks/peers/compare.py RECIPE --data FILE.h5 --out DIR [--run RUN ...] [--peer NAME ...] [--minutes 10]

See README.md beside this file. The driver runs in the project's environment; peers with requirements of their own run in
virtual environments that are made in DIR/venvs (or in --venvs), from requirements-NAME.txt. A peer that has answered is not run
again, and a sample that was judged is not judged again, unless --again names it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contest import answers, finished_run, judge, judged_so_far, load, open_folder, write_split
from table import table

from understudy.console import Console
from understudy.files import sha256, write_json, write_text
from understudy.recipe import Recipe
from understudy.rundir import read_json
from understudy.splits import Data
from understudy.versions import hardware

HERE = Path(__file__).parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True)
class Peer:
    """A script, its requirements (None for the project's own environment) and its arguments."""

    script: str
    requirements: str | None = None
    arguments: Sequence[str] = ()
    title: str = ""


PEERS: Mapping[str, Peer] = {
    "zuko-coupling": Peer("zuko_flow.py", "zuko", ("--passes", "2"), "zuko 1.6, NSF in 2 passes (coupling)"),
    "zuko-nsf": Peer("zuko_flow.py", "zuko", (), "zuko 1.6, NSF as it comes (autoregressive)"),
    "pidgan-bcegan": Peer("pidgan_gan.py", "pidgan", ("--algorithm", "BceGAN"), "pidgan 0.2, BceGAN"),
    "pidgan-wgan-gp": Peer("pidgan_gan.py", "pidgan", ("--algorithm", "WGAN_GP"), "pidgan 0.2, WGAN_GP"),
    "gflash": Peer("gflash.py", None, ("--reference", "{parametric}", "--geometry", "{geometry}"), "GFLASH, tuned here"),
}
"""Peers by name; braces are filled from the recipe."""

SLOW, FEW_CELLS = "zuko-nsf", 100
"""A peer that takes three network calls a cell for each shower is left out above so many cells, unless it is named."""


def environment(name: str, folder: Path, console: Console) -> Path:
    """The Python of a peer's virtual environment, made where it is missing."""
    place, wanted = folder / name, HERE / f"requirements-{name}.txt"
    python, note = place / "bin" / "python", place / "requirements.sha256"
    if python.is_file() and note.is_file() and note.read_text(encoding="utf-8").strip() == sha256(wanted):
        return python
    with console.step(f"Installing {wanted.name} into {place}"):
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(wanted)], check=True)
        write_text(note, sha256(wanted) + "\n")
    return python


def run_peer(name: str, recipe: Recipe, out: Path, venvs: Path, minutes: float, console: Console) -> None:
    """Let a peer train and answer, on one thread; leaves `answers/NAME.npz` and `.json`.

    Raises:
        RuntimeError: it failed; its log is named.
    """
    peer = PEERS[name]
    python = Path(sys.executable) if peer.requirements is None else environment(peer.requirements, venvs, console)
    parametric = recipe.alternatives.get("parametric")
    words = {"parametric": getattr(parametric, "kind", ""), "geometry": str(recipe.geometry)}
    if "{parametric}" in peer.arguments and not words["parametric"]:
        raise ValueError(f"recipe {recipe.name} names no parametrisation (alternatives: parametric), which {name} tunes")
    files = [str(out / "split.npz"), str(out / "answers" / f"{name}.npz")]
    command = [
        str(python),
        str(HERE / peer.script),
        *files,
        "--minutes",
        str(minutes),
        *(a.format(**words) for a in peer.arguments),
    ]
    log = out / "answers" / f"{name}.log"
    with (
        console.step(f"{name}: training for {minutes:g} minutes of one processor, then sampling; see {log}"),
        log.open("w") as text,
    ):
        done = subprocess.run(command, stdout=text, stderr=subprocess.STDOUT, env={**os.environ, **dict.fromkeys(THREADS, "1")})
    if done.returncode != 0:
        raise RuntimeError(f"{name} failed with status {done.returncode}; read {log}")


def geant4_speed(recipe: Recipe, out: Path, showers: int, console: Console) -> dict[str, Any] | None:
    """What Geant4 takes here, or None where it cannot run."""
    place = out / "answers" / "geant4.json"
    if place.is_file():
        return read_json(place)
    if "geant4" not in recipe.alternatives:
        return None
    command = [sys.executable, str(HERE / "geant4_speed.py"), str(out / "split.npz"), str(place)]
    command += ["--reference", recipe.alternatives["geant4"].kind, "--showers", str(showers)]
    with console.step(f"Geant4: {showers} showers"):
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        console.warn(f"Geant4 cannot run here: {done.stderr.strip().splitlines()[-1]}")
        return None
    return read_json(place)


def compete(options: argparse.Namespace, console: Console) -> Path:
    """Do what is asked and write the table; returns its path."""
    out: Path = options.out
    open_folder(out)
    recipe, data = load(options.recipe, options.data, out, console)
    write_split(data, out / "split.npz")
    again = set(options.again)
    if len({folder.name for folder in options.run}) < len(options.run):
        raise ValueError("two of the runs have the same folder name, by which the table tells them apart; rename one")
    cells = data.train.packed().shape[1]
    peers = [n for n in PEERS if n != SLOW or cells <= FEW_CELLS] if options.peer is None else options.peer
    for name in peers:
        if not (out / "answers" / f"{name}.json").is_file() or name in again:
            run_peer(name, recipe, out, options.venvs or out / "venvs", options.minutes, console)
    if not (peers or options.run):
        raise ValueError("there is nothing to compare; name a --peer or give a finished --run")
    titles = {name: PEERS[name].title for name in peers}
    for folder in options.run:
        name = f"run-{folder.name}"
        titles[name] = f"Understudy, {Recipe.load(folder / 'recipe.yaml').name}"
        if not (out / "answers" / f"{name}.json").is_file() or name in again:
            with console.step(f"Sampling the run {folder}"):
                finished_run(folder, recipe, data, out / "answers" / f"{name}.npz")
    judged = judge_new(recipe, data, titles, out, again, options.seed, console)
    speed = None if options.geant4 == 0 else geant4_speed(recipe, out, options.geant4, console)
    took = {name: read_json(out / "answers" / f"{name}.json") for name in titles}
    facts = {"recipe": recipe.name, "data": {"name": data.name, "sha256": data.digest}, "hardware": hardware(), "geant4": speed}
    facts |= {"minutes": options.minutes, "events": {"training": len(data.train), "test": len(data.test)}}
    rows = {name: {"title": titles[name], **judged[name], "cost": took[name]} for name in titles}
    write_json(out / "peers.json", {**facts, "rows": rows})
    return write_text(out / "peers.md", table(facts, rows))


def judge_new(
    recipe: Recipe, data: Data, names: Mapping[str, str], out: Path, again: set[str], seed: int, console: Console
) -> dict[str, Any]:
    """AUCs by name, computed for those that have none yet or were sampled anew since; kept in `judged.json`."""
    place = out / "judged.json"
    known = judged_so_far(place)
    prints = {name: sha256(out / "answers" / f"{name}.npz") for name in names}
    new = [n for n in names if known.get(n, {}).get("answers_sha256") != prints[n] or known[n]["seed"] != seed or n in again]
    if new:
        with console.step(f"Judging {', '.join(new)}"):
            found = judge(recipe, data, {n: answers(out / "answers" / f"{n}.npz", data) for n in new}, seed)
        known |= {n: {**found[n], "answers_sha256": prints[n], "seed": seed} for n in new}
        write_json(place, known)
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="whose events, projections and judges are used, e.g. atlas-photon-89, lhcb-ecal")
    parser.add_argument("--data", type=Path, required=True, help="the reference events")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", type=Path, nargs="*", default=[], help="finished runs on the same events")
    parser.add_argument("--peer", nargs="*", choices=list(PEERS), help="all that are fast enough if absent")
    parser.add_argument("--minutes", type=float, default=10.0, help="processor time of each training (default %(default)s)")
    parser.add_argument("--geant4", type=int, default=200, help="showers of Geant4 for its speed; 0 leaves it out")
    parser.add_argument("--again", nargs="*", default=[], help="peers and runs (run-NAME) to do and judge again")
    parser.add_argument("--venvs", type=Path, help="where the virtual environments are; DIR/venvs if absent")
    parser.add_argument("--seed", type=int, default=1, help="of the judges")
    options = parser.parse_args()
    path = compete(options, Console())
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
