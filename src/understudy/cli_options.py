"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeName = Annotated[str, typer.Argument(help="Name of a shipped recipe (see `understudy recipes`) or path of a YAML file.")]
DataFile = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="File of reference events (MeV, mm), or a table where the recipe reads one, in place of its own reference.",
    ),
]
CardFile = Annotated[
    Path | None,
    typer.Option(
        "--card", help="Delphes card to learn the response of single particles from, in place of the recipe's reference."
    ),
]
ParticleName = Annotated[
    str | None, typer.Option("--particle", help="Which particle of --card: electron, muon, charged-hadron or photon.")
]
ReferenceName = Annotated[
    str | None,
    typer.Option("--reference", help="A simulator of the recipe's `alternatives`, by name: geant4, parametric, ..."),
]
EventsUsed = Annotated[
    int | None,
    typer.Option("--events", "-n", help="Events to simulate, or to use of the file; the recipe's own number if absent.", min=1),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of every random number; the recipe's own if absent.", min=0)]
OutDir = Annotated[Path | None, typer.Option("--out", "-o", help="Directory of the run; runs/NAME if absent.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run; it ends as if it had not been interrupted.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run there, once the new events are read.")]
