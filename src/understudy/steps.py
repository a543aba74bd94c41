"""The steps of the journey, each alone on files: what the command line calls beside `run`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy import geometry as geometries
from understudy import seeds, storage
from understudy.asked import at, is_class, said
from understudy.build import build_geometry, build_preparation, validation_settings
from understudy.console import Console
from understudy.deployment.bundle import load_bundle, read_asked, read_trained, write_bundle
from understudy.deployment.export import export_graphs
from understudy.events import Events
from understudy.files import make_directory
from understudy.geometry import Calorimeter
from understudy.journey import resolve, train, with_needs
from understudy.production import described, produce, with_energies
from understudy.recipe import Recipe, is_file
from understudy.registry import Factory
from understudy.rundir import RunDirectory, read_manifest
from understudy.sampling import sample_to_file
from understudy.schema import Schema
from understudy.splits import prepare
from understudy.validation.compare import compare
from understudy.validation.report import Report
from understudy.validation.settings import ValidationSettings


def simulate_to_file(
    recipe: str | Path,
    events: int,
    out: Path,
    *,
    reference: str | None = None,
    seed: int = 1,
    processes: int | None = None,
    energies: tuple[float, float] | None = None,
    console: Console,
) -> Path:
    """Make `events` events with a recipe's simulator and write them; goes on where an earlier attempt was interrupted.

    Args:
        recipe: name or path of the recipe.
        events: how many.
        out: `.h5` or `.npz` file.
        reference: which of the recipe's references; the first that simulates if None.
        seed: of every random number.
        processes: processes side by side, where the simulator can use them; they do not change the events.
        energies: lowest and highest energy of the particle gun [MeV], in place of the recipe's.
        console: shows progress.

    Raises:
        ValueError: the recipe has no such reference, or none that simulates.
    """
    storage.check_ending(out)
    make_directory(out.parent)
    entry = simulating_entry(Recipe.load(recipe), reference)
    source = entry()
    if energies is not None:
        source = with_energies(source, *energies)
    words = described(entry, source)
    if processes is not None:
        if not hasattr(getattr(source, "simulator", None), "processes"):
            raise ValueError("this reference runs in one process; leave out --processes")
        source = replace(source, simulator=replace(source.simulator, processes=processes))
    with console.step(f"Simulating {events:,} events") as step:
        return produce(
            source, events, out, seed=seed, words=words, progress=lambda done: step.advance(done, events) if done else None
        )


def simulating_reference(recipe: Recipe, name: str | None = None) -> Any:
    """The recipe's reference called `name`, or the first that simulates; built."""
    return simulating_entry(recipe, name)()


def simulating_entry(recipe: Recipe, name: str | None = None) -> Factory:
    """The recipe's reference called `name`, or the first that simulates."""
    if name is not None:
        chosen = recipe.reference_called(name)
        if is_file(chosen):
            raise ValueError(f"reference {name!r} of {recipe.name} is a file and cannot simulate")
        return chosen
    for entry in (recipe.reference, *recipe.alternatives.values()):
        if not is_file(entry):
            return entry
    raise ValueError(f"recipe {recipe.name} knows no simulator: its reference is a file and it has no alternatives")


def train_only(
    recipe: str | Path,
    *,
    data: Path | None = None,
    out: Path | None = None,
    seed: int | None = None,
    reference: str | None = None,
    events: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    console: Console,
    card: Path | None = None,
    particle: str | None = None,
) -> Path:
    """Prepare the events and train; returns the run's directory. Arguments as for `understudy.run`."""
    resolved = resolve(recipe, data=data, seed=seed, reference=reference, events=events, card=card, particle=particle)
    out = out or Path("runs") / resolved.name
    resolved = with_needs(resolved, out, resume=resume, overwrite=overwrite, console=console)
    place = RunDirectory.open(out, resolved, resume=resume, overwrite=overwrite)
    train(resolved, prepare(resolved, place, console), place, resume=resume, console=console)
    return place.path


def export_run(run: Path, out: Path | None = None, *, console: Console) -> Path:
    """Write the bundle of a trained run, with its metrics if it was validated.

    Raises:
        FileNotFoundError: `run` holds no trained surrogate.
        ParityError: the exported graph differs from torch.
    """
    surrogate, recipe, metrics = read_trained(run)
    with console.step("Exporting to ONNX"), tempfile.TemporaryDirectory() as folder:
        graphs = export_graphs(surrogate, Path(folder))
        data, asked = read_manifest(run).get("data"), read_asked(run, surrogate)
        return write_bundle(out or run / "bundle", surrogate, recipe, graphs, metrics, data, asked)


def sample_bundle(
    bundle: Path,
    out: Path,
    *,
    conditions: Path | None = None,
    events: int | None = None,
    seed: int = 1,
    chunk: int = 5000,
    workers: int = 1,
    fixed: Sequence[str] = (),
    console: Console,
) -> tuple[Path, int]:
    """Generate events with a bundle into a file; returns it and the number of events outside the trained domain.

    Conditions come from a file, or are `fixed` in words (`label=3`), or are drawn by the recipe's gun.
    """
    storage.check_ending(out)
    asked = _asked(bundle, conditions, events, seed, fixed)
    with console.step(f"Sampling {len(asked):,} events") as step:
        sample_to_file(
            bundle, asked, out, seed=seed, chunk=chunk, workers=workers, progress=lambda done: step.advance(done, len(asked))
        )
    with storage.reader(out, response=False) as file:
        return out, sum(int(part.aux["out_of_domain"].sum()) for part in file.chunks())


def _asked(bundle: Path, conditions: Path | None, events: int | None, seed: int, fixed: Sequence[str] = ()) -> Events:
    """The conditions to answer: rows of a file, said in words, all classes in turn, or drawn by the recipe's particle gun."""
    surrogate = load_bundle(bundle)
    only_classes = all(is_class(b, surrogate.domain) for b in surrogate.schema.given)
    if fixed and (conditions is not None or events is None):
        raise ValueError("--at says the conditions: give the number of events with -n, and no file of conditions")
    if events is not None and conditions is None and (fixed or only_classes):
        return at(said(fixed, surrogate.schema), events, surrogate.schema, surrogate.domain)
    names = [b.name for b in surrogate.schema.given]
    images = [b.name for b in surrogate.schema.given if b.kind == "image"]
    if conditions is not None:
        if images:  # what other files answer with is asked for here
            file = storage.read(conditions)
            asked = Events(Schema(surrogate.schema.given), {name: file[name] for name in names}, where=str(conditions))
        else:
            asked = storage.read(conditions, conditions=names, response=False)
        if events is not None and events > len(asked):
            raise ValueError(f"{conditions} holds {len(asked)} events, fewer than the {events} asked for")
        return asked if events is None else asked[:events]
    if images:
        raise ValueError(f"no particle gun draws {', '.join(images)}: give the events to read with --conditions FILE")
    if events is None:
        raise ValueError("say what to simulate: --conditions FILE, or -n EVENTS to draw them with the recipe's particle gun")
    folder = bundle / "bundle" if (bundle / "bundle" / "recipe.yaml").is_file() else bundle
    gun = getattr(simulating_reference(Recipe.load(folder / "recipe.yaml")), "gun", None)
    if gun is None:
        raise ValueError("this reference makes whole events and has no gun: give the events to read with --conditions FILE")
    drawn = gun.draw(events, seeds.generator(seed, "conditions"))
    schema = replace(surrogate.schema, conditions=surrogate.schema.given)
    return Events(schema, {name: drawn[name] for name in names})


def validate_files(
    reference: Path,
    candidates: Sequence[Path],
    out: Path,
    *,
    recipe: str | None = None,
    geometry: str | None = None,
    floor: Path | None = None,
    seed: int = 1,
    console: Console,
) -> Report:
    """Compare files of events with a reference file and write a report.

    Args:
        reference: the reference's events.
        candidates: files to judge; each goes by its name without the ending.
        out: directory of the report.
        recipe: prepare all files as this recipe does. Its electronic noise is added to the reference and the floor alone:
            a candidate is taken to have it already, as a stand-in's answers do.
        geometry: geometry of the responses where the files do not name it.
        floor: a second, disjoint file of reference events.
        seed: of classifiers and bootstrap.
        console: shows progress.
    """
    words = None if recipe is None else Recipe.load(recipe)

    def load(path: Path, sample: str = "candidate") -> tuple[Events, Calorimeter | None]:
        with storage.reader(path) as file:
            own = file.geometry or _declared(words, geometry)
            events = file.read()
        if words is None:
            return events, own
        target = build_geometry(words)
        own = target if target is not None and events.schema.response_width == target.n_cells else own
        prepared = build_preparation(words, target)
        if sample == "candidate":
            prepared = replace(prepared, noise=None)
        return prepared(events, own, sample), target

    if len({path.stem for path in candidates}) < len(candidates):
        raise ValueError("two candidate files have the same name; rename one, since the report calls them by it")
    with console.step(f"Reading {reference}"):
        judged, shape = load(reference, "reference")
        others = {path.stem: load(path)[0] for path in candidates}
        second = None if floor is None else load(floor, "floor")[0]
    make_directory(out)
    settings = ValidationSettings() if words is None else validation_settings(words)
    with console.step("Comparing with the reference") as step:
        report = compare(
            judged,
            others,
            floor=second,
            geometry=shape,
            settings=settings,
            seed=seed,
            reference_name=reference.name,
            progress=step.advance,
        )
        report.write(out)
    return report


def _declared(words: Recipe | None, geometry: str | None) -> Calorimeter | None:
    """The geometry said on the command line, or that of the recipe's reference file, or the recipe's own."""
    said = geometry or (None if words is None else words.reference.arguments.get("geometry") or words.geometry)
    return None if said is None else geometries.load(said)
