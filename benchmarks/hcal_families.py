"""Every family of whole HCAL events at one width and one time of training, on the same events, in one report.

    understudy simulate EVENTS.yaml -n 17000 --out train.h5     # a recipe with `reference: {kind: lhcb-hcal-events}`
    understudy simulate EVENTS.yaml -n 24000 --seed 2 --out test.h5
    python benchmarks/hcal_families.py train.h5 test.h5 --stp runs/stp --out runs/families [--minutes 3] [--seeds 1]

Each recipe is trained for `--minutes` (to the end of the round in which they are used up) on the first `--events` of the training
file; what is trained already is not trained again. Runs that were trained elsewhere are judged beside them with `--run`. Then all
of them answer the first `--judged` events of the test file, which none of them has seen, and one report compares them: its floor
is the other half of these events. The table is printed and written to `families.md`: AUCs, distances and chi2 of the trigger's
curves with their floors, and milliseconds per event of one thread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from pathlib import Path

from hcal_speed import measured

from understudy import seeds, storage
from understudy.build import build_preparation
from understudy.console import Console
from understudy.deployment.bundle import read_trained
from understudy.deployment.export import export_graphs
from understudy.deployment.runtime import Session
from understudy.domain import OutOfDomainWarning
from understudy.events import Events
from understudy.files import write_text
from understudy.geometry import builtin
from understudy.steps import train_only
from understudy.validation.compare import compare
from understudy.validation.settings import ValidationSettings
from understudy.versions import hardware

FAMILIES = ("pix2pix", "vae", "vae-gan", "clr-gan", "bicycle-gan", "flow")
RECIPES = (
    "lhcb-hcal-tip",
    *(f"lhcb-hcal-tip-{f}" for f in FAMILIES),
    "lhcb-hcal-cir",
    *(f"lhcb-hcal-cir-{f}" for f in FAMILIES),
    "lhcb-hcal-cir-wasserstein",
)
CURVES = (
    *(f"{rate}_{against}" for against in ("drawn_et", "drawn_total_et", "signal_et", "total_et") for rate in ("htos", "htis")),
    *(f"isolated_{what}_{region}" for what in ("mean", "width", "tail") for region in ("inner", "outer")),
)
SETTINGS = ValidationSettings.model_validate(
    {
        "replicas": 50,
        "classifier": {"seeds": 1, "epochs": 4, "iterations": 60, "replicas": 30},
        "variety": {"conditions": 0},
        "analyses": [
            {"kind": "hcal-images"},
            {"kind": "hcal-trigger", "least_p": 0.01, "largest": 0.03},
            {"kind": "hcal-isolated-tracks"},
            {"kind": "hcal-gallery"},
        ],
    }
)


def trained(name: str, seed: int, arguments: argparse.Namespace) -> Path:
    """The run of a recipe at the common time; trained if it is not there yet."""
    out = arguments.out / f"{name}-{seed}"
    if (out / "checkpoints" / "surrogate.json").is_file():
        return out
    words = {"extends": name, "name": f"{name}-{seed}"}
    if "cir" in name:
        words["needs"] = {"stp": {"run": str(arguments.stp.resolve()), "own_events": True}}
    training = {"minutes": arguments.minutes, "epochs": arguments.epochs if name in ("lhcb-hcal-tip", "lhcb-hcal-cir") else 1000}
    words["change"] = {f"stages.response.training.{key}": value for key, value in training.items()}
    words["split"] = {"train": 0.9, "validation": 0.05, "test": 0.05}
    arguments.out.mkdir(parents=True, exist_ok=True)
    recipe = arguments.out / f"{name}-{seed}.yaml"
    recipe.write_text(json.dumps(words))
    return train_only(
        recipe, data=arguments.train, events=arguments.events, seed=seed, out=out, overwrite=True, console=Console()
    )


def answered(run: Path, events: Events, prepared: dict[str, Events]) -> Events:
    """What a trained run answers to test events, as the reference is compared: with the tracks' image as the condition.

    `prepared` keeps the events as runs take them: all refinements take the same images of single tracks.
    """
    surrogate, recipe, _ = read_trained(run)
    kind = f"{recipe.conditions} {recipe.needs}"
    if kind not in prepared:
        prepared[kind] = build_preparation(recipe, builtin("lhcb-hcal"))(events, builtin("lhcb-hcal"), "families")
    asked = prepared[kind]
    given = {b.name: asked.conditions[b.name] for b in surrogate.schema.given}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        made = surrogate.simulate(given, seeds.generator(1, "families", run.name))
    kept = events.select_conditions(["tracker_image"])
    return kept.with_response(made.packed())


def milliseconds(run: Path) -> dict[str, float]:
    """Per event at each batch size on one thread of ONNX Runtime; of a refinement, without the images of its tracks."""
    surrogate, recipe, _ = read_trained(run)
    image = recipe.conditions[0] if recipe.conditions else "tracker_image"
    with tempfile.TemporaryDirectory() as folder:
        session = Session(export_graphs(surrogate, Path(folder))[0].path, threads=1)
        return {str(b): measured(session, surrogate.noise_size, b, 1000, 5.0, image)[0] for b in (1, 100)}


def row(found: dict, ms: dict[str, float]) -> dict[str, str]:
    """One line of the table, by column."""
    auc = {k: found["classifier"][k] for k in ("low_level", "high_level")}
    seen = found["analyses"]["hcal-images"]
    cells = {f"AUC {k}": f"{a['auc']:.3f} ± {a['error']:.3f} ({a['floor']:.3f})" for k, a in auc.items()}
    cells |= {f"W1 {k}": f"{v['wasserstein1']['value']:.3g} ({v['wasserstein1']['floor']:.2g})" for k, v in seen.items()}
    for key in CURVES:
        c = found["curves"][key]
        cells[f"chi2 {key}"] = f"{c['chi2']:.0f}/{c['ndf']} ({c['floor_chi2']:.0f}), p {c['p_value']:.2g}"
    for region, n in found["analyses"]["hcal-isolated-tracks"].items():
        cells[f"width of isolated tracks, {region}"] = f"{n['candidate']['width']:.3f} ({n['reference']['width']:.3f})"
    minutes = (found.get("training") or {}).get("minutes")
    cells["training [min]"] = "-" if minutes is None else f"{minutes:.1f}"
    return cells | {f"ms at batch {b}": f"{v:.2f}" for b, v in ms.items()}


def table(rows: dict[str, dict[str, str]]) -> str:
    """Markdown; floors in parentheses."""
    columns = list(next(iter(rows.values())))
    lines = [["run", *columns], ["---", *["---:"] * len(columns)]]
    lines += [[name, *(cells[c] for c in columns)] for name, cells in rows.items()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    """Train, answer, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--stp", type=Path, required=True, help="trained run of lhcb-hcal-stp")
    parser.add_argument("--out", type=Path, default=Path("runs/families"))
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--epochs", type=int, default=2, help="of the defaults, whose learning rate falls to zero over them")
    parser.add_argument("--events", type=int, default=6000)
    parser.add_argument("--judged", type=int, default=8000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), help="none: judge only what --run names")
    parser.add_argument("--run", type=Path, nargs="*", default=[], help="trained runs that are judged beside them")
    parser.add_argument("--train-only", action="store_true")
    arguments = parser.parse_args()
    runs = [trained(name, seed, arguments) for seed in arguments.seeds for name in arguments.recipes]
    if arguments.train_only:
        return
    with storage.reader(arguments.test) as file:
        events = file.read(0, arguments.judged)
    reference = events.select_conditions(["tracker_image"])
    made, costs, places = {}, {}, {run.name: run for run in (*arguments.run, *runs)}
    prepared: dict[str, Events] = {}
    for run in [*arguments.run, *runs]:
        print("asking", run.name, flush=True)
        made[run.name] = answered(run, events, prepared)
        note = json.loads((run / "checkpoints" / "surrogate.json").read_text())
        costs[run.name] = {"training": note.get("training")}
    report = compare(
        reference, made, geometry=builtin("lhcb-hcal"), settings=SETTINGS, seed=1, reference_name=arguments.test.name, costs=costs
    )
    report.write(arguments.out / "report")
    candidates = report.metrics["candidates"]
    written = table({name: row(found, milliseconds(places[name])) for name, found in candidates.items()})
    write_text(arguments.out / "families.md", written)
    print(written, hardware(), arguments.out / "report" / "report.html", sep="\n")


if __name__ == "__main__":
    main()
