"""The command `scan`: a parameter study from one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli_options import DataFile, EventsUsed, ReferenceName
from understudy.scans import shipped


def scan(
    scan: Annotated[
        str, typer.Argument(help=f"Name of a shipped scan ({', '.join(shipped())}) or path of a YAML file.", show_default=False)
    ],
    data: DataFile = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Directory of the scan; scans/NAME if absent.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this group of variants; may be given repeatedly.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", help="Runs side by side, all cores if absent; they do not change the results.", min=1),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the study; the scan's own if absent.", min=0)] = None,
    reference: ReferenceName = None,
    events: EventsUsed = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep finished runs, go on with interrupted ones, try failed ones again.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier scan there.")] = False,
) -> None:
    """Train variants of a recipe with several seeds each, and compare them: which parameters matter?

    The YAML file names a base **recipe**, what all runs have in **common** (a reduced budget), **seeds**, and **groups** of
    variants: a dotted path into the recipe with its values, e.g. `path: stages.response.model.noise` and `values: [1, 10, 100]`.
    The base is run once for all groups. Only the model of the response is trained.

    Leaves in the scan's directory: scan.json (every number with its floor), table.csv, report.html (the union of the seeds
    of every variant with the spread between them), and runs/. A run that fails is named there and does not stop the others.

    Example: `understudy scan atlas-photon-89 --data atlas_photons.h5 --out scans/a89`
    """
    from understudy.console import Console

    console = Console()
    with console.loading():
        from understudy.scan.study import scan as study

    found = study(
        scan,
        data=data,
        out=out,
        seed=seed,
        reference=reference,
        events=events,
        jobs=jobs,
        only=only or (),
        resume=resume,
        overwrite=overwrite,
        console=console,
    )
    if found.rows:
        console.summary(found.rows, title=found.plan.scan.title)
        for name, what in (("scan.json", "numbers"), ("table.csv", "table"), ("report.html", "report")):
            console.wrote(found.directory / name, what)
    if failed := found.failed:
        first = failed[0]
        raise RuntimeError(
            f"{len(failed)} of {len(found.runs)} runs failed (first {first.task.variant}, seed {first.task.seed}: {first.error});"
            " the others are kept, and the same command with --resume tries the failed ones again"
        )
