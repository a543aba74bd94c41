"""The command line: one command per step; thin. It parses, calls the library, and says what was written and where."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli_errors import CommandInterruptedError, Commands, fail, sentence, show_warning
from understudy.cli_look import info, recipes
from understudy.cli_options import (
    CardFile,
    DataFile,
    EventsUsed,
    OutDir,
    Overwrite,
    ParticleName,
    RecipeName,
    ReferenceName,
    Resume,
    Seed,
)
from understudy.cli_pareto import pareto
from understudy.cli_scan import scan
from understudy.cli_search import search

app = typer.Typer(
    name="understudy",
    cls=Commands,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Learned stand-ins for particle-detector simulation: train one, prove it, run it.

The journey is **simulate** or read, **train**, **sample**, **validate**, **export**; **run** does all of it from one recipe;
**scan** compares variants of one, **search** looks for better ones, **pareto** compares any runs.

Begin with `understudy run quickstart`, see `understudy recipes`, and look into any file with `understudy info FILE`.""",
)


@app.command()
def run(
    recipe: RecipeName,
    data: DataFile = None,
    out: OutDir = None,
    seed: Seed = None,
    reference: ReferenceName = None,
    events: EventsUsed = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    card: CardFile = None,
    particle: ParticleName = None,
) -> None:
    """Do the whole journey of a recipe, from reference events to a report and a bundle.

    Leaves in the run's directory: recipe.yaml (resolved), manifest.json, history.json, checkpoints/, samples.h5, report/
    and bundle/.

    Interrupted with Ctrl-C or killed, the same command with `--resume` goes on and ends the same.

    Example: `understudy run atlas-photon-89-paper --data atlas_photons.h5 --out runs/a89`
    """
    from understudy.console import Console

    console = Console()
    with console.loading():
        from understudy.journey import run as journey

    finished = journey(
        recipe,
        data=data,
        out=out,
        seed=seed,
        reference=reference,
        events=events,
        resume=resume,
        overwrite=overwrite,
        card=card,
        particle=particle,
        console=console,
    )
    console.summary(finished.report.summary_rows(), title=f"{finished.recipe.name}: {finished.report.metrics['verdict']}")
    console.wrote(finished.directory / "report" / "report.html", "report")
    console.wrote(finished.bundle, "bundle")


@app.command()
def simulate(
    recipe: RecipeName,
    events: Annotated[int, typer.Option("--events", "-n", help="Number of events.", min=1)],
    out: Annotated[Path, typer.Option("--out", "-o", help="HDF5 or npz file to write.")],
    reference: ReferenceName = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of every random number.", min=0)] = 1,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            "-j",
            help="Processes of Geant4, all cores if absent; they do not change the output.",
            min=1,
        ),
    ] = None,
    energies: Annotated[
        tuple[float, float] | None,
        typer.Option("--energies", help="Lowest and highest energy of the particle gun [MeV]; the recipe's own if absent."),
    ] = None,
) -> None:
    """Make reference events with a recipe's simulator: Geant4, a parametrisation, ...

    Interrupted with Ctrl-C or killed, the same command goes on where it stopped and ends with the same file.

    The file holds `showers`, `incident_energies` and the condition columns (MeV, mm), and can be given to `--data`.

    Example: `understudy simulate lhcb-ecal -n 200 --reference geant4 --seed 7 --out showers.h5`
    """
    from understudy.console import Console

    console = Console()
    with console.loading():
        from understudy.steps import simulate_to_file

    path = simulate_to_file(
        recipe, events, out, reference=reference, seed=seed, processes=processes, energies=energies, console=console
    )
    console.wrote(path, f"{events:,} events")


@app.command()
def train(
    recipe: RecipeName,
    data: DataFile = None,
    out: OutDir = None,
    seed: Seed = None,
    reference: ReferenceName = None,
    events: EventsUsed = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    card: CardFile = None,
    particle: ParticleName = None,
) -> None:
    """Train a recipe's models without judging or exporting them; `understudy run ... --resume` or `export` goes on from there.

    Example: `understudy train atlas-photon-89-paper --data atlas_photons.h5 --out runs/a89`
    """
    from understudy.console import Console

    console = Console()
    with console.loading():
        from understudy.steps import train_only

    directory = train_only(
        recipe,
        data=data,
        out=out,
        seed=seed,
        reference=reference,
        events=events,
        resume=resume,
        overwrite=overwrite,
        card=card,
        particle=particle,
        console=console,
    )
    console.wrote(directory / "checkpoints", "checkpoints")
    console.wrote(directory / "history.json", "history")


@app.command()
def sample(
    bundle: Annotated[Path, typer.Argument(help="Directory of a bundle, or of the run that holds it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="HDF5 or npz file to write.")],
    conditions: Annotated[
        Path | None, typer.Option("--conditions", help="HDF5 or npz file whose conditions (MeV, mm) are simulated, row by row.")
    ] = None,
    events: Annotated[
        int | None,
        typer.Option(
            "--events", "-n", help="Number of events: drawn by the recipe's particle gun, or the first of --conditions.", min=1
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="A condition that all events have, NAME=VALUE, as in label=3; classes not said take turns."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the noise.", min=0)] = 1,
    chunk: Annotated[int, typer.Option("--chunk", help="Events per chunk; each has its own seed sequence.", min=1)] = 5000,
    workers: Annotated[
        int, typer.Option("--workers", "-j", help="Processes side by side; they do not change the output.", min=1)
    ] = 1,
) -> None:
    """Generate events with a bundle. Interrupted, the same command goes on where it stopped.

    Events whose conditions lie outside the trained range are simulated all the same, with a warning, and flagged in the data set
    `out_of_domain`.

    A bundle of images by class: `understudy sample runs/mnist -n 100 --at label=3 --out threes.h5`.

    Example: `understudy sample runs/a89/bundle --conditions atlas_photons.h5 -n 1000 --out generated.h5`
    """
    from understudy.console import Console

    console = Console()
    with console.loading():
        from understudy.steps import sample_bundle

    path, flagged = sample_bundle(
        bundle,
        out,
        conditions=conditions,
        events=events,
        seed=seed,
        chunk=chunk,
        workers=workers,
        fixed=at or (),
        console=console,
    )
    console.wrote(path, "events" if not flagged else f"events ({flagged:,} outside the trained domain, see out_of_domain)")


@app.command()
def validate(
    reference: Annotated[Path, typer.Argument(help="File of reference events.")],
    candidates: Annotated[list[Path], typer.Argument(help="One or more files of events to judge.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the report.")],
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Prepare all files as this recipe does (crop, thresholds, ranges).")
    ] = None,
    geometry: Annotated[
        str | None,
        typer.Option(
            "--geometry",
            help="Geometry where the files do not name it: atlas-em-89, lhcb-ecal, FILE.xml:particle.",
        ),
    ] = None,
    floor: Annotated[
        Path | None,
        typer.Option("--floor", help="A second, disjoint reference file for the noise floor; else the reference is halved."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of classifiers and bootstrap.", min=0)] = 1,
) -> None:
    """Compare files of events with a reference: distances, classifier test, each with its noise floor.

    The same observables and settings as at the end of `run`, for events of whoever made them. Energies are in MeV, lengths in mm.

    Example: `understudy validate geant4.h5 generated.h5 --recipe atlas-photon-89-paper --out report`
    """
    from understudy.console import Console

    console = Console()
    with console.loading():
        from understudy.steps import validate_files

    report = validate_files(reference, candidates, out, recipe=recipe, geometry=geometry, floor=floor, seed=seed, console=console)
    console.summary(report.summary_rows(), title=f"verdict: {report.metrics['verdict']}")
    console.wrote(out / "report.html", "report")
    console.wrote(out / "metrics.json", "metrics")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Directory of a run that has been trained.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Directory of the bundle; RUN/bundle if absent.")] = None,
) -> None:
    """Write the bundle of a trained run: ONNX graphs, weights, recipe, card and checksums.

    Example: `understudy export runs/a89 --out a89-bundle`
    """
    from understudy.console import Console

    console = Console()
    with console.loading():
        from understudy.steps import export_run

    bundle = export_run(run, out, console=console)
    console.wrote(bundle, "bundle")


app.command()(scan)
app.command()(search)
app.command()(pareto)
app.command()(recipes)
app.command()(info)


def version(value: bool) -> None:
    """Print the version and stop."""
    if value:
        from importlib.metadata import version as of

        typer.echo(f"understudy {of('understudy')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options of the program itself; without a command, say what there is."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line; errors are one sentence and a non-zero status, never a traceback."""
    warnings.showwarning = show_warning  # type: ignore[assignment]
    try:
        status = app(standalone_mode=False)
    except (CommandInterruptedError, KeyboardInterrupt) as stop:
        fail(str(stop) or "interrupted", 130)
    except Exception as error:
        if os.environ.get("UNDERSTUDY_TRACEBACK"):
            raise
        fail(sentence(error), int(getattr(error, "exit_code", 1)))
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
