"""Commands that only look: the shipped recipes, and what a file, a bundle or a run holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def recipes(name: Annotated[str | None, typer.Argument(help="Print this recipe as YAML.")] = None) -> None:
    """List the shipped recipes, or print one to start your own from.

    Example: `understudy recipes lhcb-ecal > mine.yaml`
    """
    from understudy.recipes import shipped, titles

    if name is not None:
        if name not in shipped():
            raise ValueError(f"no shipped recipe {name!r}; there are {', '.join(shipped())}")
        typer.echo(shipped()[name].read_text(encoding="utf-8"), nl=False)
        return
    from understudy.console import Console

    Console().summary([{"recipe": n, "what it is": t} for n, t in titles().items()], title="shipped recipes")


def info(
    path: Annotated[Path, typer.Argument(help="A file of events, a table, a bundle, or a run.")],
) -> None:
    """Say what a file, a bundle or a run holds; of a table also how a recipe may say it.

    Example: `understudy info atlas_photons.h5`
    """
    from understudy.console import Console

    console = Console()
    with console.loading():
        from understudy.inspection import describe, drafts

    for title, rows in describe(path).items():
        console.summary(rows, title=title)
    if text := drafts(path):
        typer.echo(text, nl=False)
