"""The command `search`: hyper-parameters of a recipe, drawn from a space."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli_options import DataFile, EventsUsed, RecipeName, ReferenceName
from understudy.searches import shipped


class Sampler(StrEnum):
    """What draws the trials."""

    random = "random"
    tpe = "tpe"


class Pruner(StrEnum):
    """What ends trials early."""

    none = "none"
    median = "median"
    halving = "halving"
    hyperband = "hyperband"


def search(
    recipe: RecipeName,
    space: Annotated[
        str,
        typer.Argument(
            help=f"Name of a shipped search space ({', '.join(shipped())}) or path of a YAML file.", show_default=False
        ),
    ],
    trials: Annotated[
        int | None,
        typer.Option("--trials", "-t", help="Trials in the end, all machines together; the space's own if absent.", min=1),
    ] = None,
    study: Annotated[str | None, typer.Option("--study", help="Name of the study; RECIPE-SPACE if absent.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", help="URL of a database that several machines share; a SQLite file in the directory if absent."
        ),
    ] = None,
    sampler: Annotated[Sampler | None, typer.Option("--sampler", help="What draws; the space's own if absent.")] = None,
    pruner: Annotated[
        Pruner | None, typer.Option("--pruner", help="What ends unpromising trials early; the space's own if absent.")
    ] = None,
    data: DataFile = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Directory of the search; searches/STUDY if absent.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Trials side by side, all cores if absent.", min=1)] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the draws; the space's own if absent.", min=0)] = None,
    reference: ReferenceName = None,
    events: EventsUsed = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a study, or join that of another machine; finished trials are kept.")
    ] = False,
) -> None:
    """Search for better parameters of a recipe: many trials, each trained and scored on validation events.

    The YAML file of the **space** names parameters by dotted paths into the recipe, each with a range (`between: [1e-5, 1e-2]`,
    `log: true`), `values`, or `variants`. The first trial is the recipe as it is. Trials whose score during the training promises
    little are ended early.

    Leaves in the search's directory: report.html, search.json, **best.yaml** (a recipe for `understudy run`), **confirm.yaml**
    (the best trials with several seeds, for `understudy scan`), and study.db.

    Example: `understudy search quickstart quickstart-gan --trials 30`
    """
    from understudy.console import Console

    console = Console()
    with console.loading():
        find = _search()
    found = find(
        recipe,
        space,
        trials=trials,
        study=study,
        storage=storage,
        sampler=None if sampler is None else sampler.value,
        pruner=None if pruner is None else pruner.value,
        data=data,
        out=out,
        seed=seed,
        reference=reference,
        events=events,
        jobs=jobs,
        resume=resume,
        console=console,
    )
    console.summary(found.rows, title=found.found.plan.space.title)
    files = (
        ("report.html", "report"),
        ("search.json", "numbers"),
        ("best.yaml", "best recipe"),
        ("confirm.yaml", "scan to confirm"),
    )
    for name, what in files:
        console.wrote(found.directory / name, what)


def _search() -> Any:
    """The function `search`; ImportError in one sentence without Optuna."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ImportError(
            "a search needs Optuna, which is not installed; install it with: pip install 'understudy[search]'"
        ) from None
    from understudy.search.search import search

    return search
