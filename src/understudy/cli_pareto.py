"""The command that sets many runs side by side: fidelity against speed and against the cost of the training."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Judge(StrEnum):
    """Judges by their short name."""

    LOW = "low"
    HIGH = "high"
    COMBINED = "combined"


class Engine(StrEnum):
    """What was timed."""

    ONNX = "onnx"
    TORCH = "torch"


def pareto(
    runs: Annotated[list[Path], typer.Argument(help="Directories of finished runs (or of reports or bundles).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the figure, the page and the table.")] = Path("pareto"),
    auc: Annotated[
        list[Judge] | None,
        typer.Option("--auc", help="Only this AUC; may be given repeatedly. All three if absent.", show_default=False),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Batch size of the timing.", min=1)] = 100,
    strong: Annotated[bool, typer.Option("--strong", help="Judges that were trained on the training events.")] = False,
    engine: Annotated[Engine, typer.Option("--engine", help="What was timed.")] = Engine.ONNX,
) -> None:
    """Set runs side by side: classifier AUC against ms per shower and against minutes of training.

    Runs share an axis only where they were judged on the same reference events by the same judges; floor, baselines and the
    Pareto front are drawn. The CaloChallenge's official points have a panel of their own.

    Leaves pareto.html, pareto.svg, pareto.png and pareto.csv in the directory.

    Example: `understudy pareto runs/flow runs/gan runs/copula --out compared`
    """
    from understudy.console import Console

    console = Console()
    with console.loading():
        from understudy.pareto.study import pareto as study

    found = study(runs, judges=[j.value for j in auc or ()], batch=batch, engine=engine.value, strong=strong, out=out)
    for group in found.groups:
        console.summary(found.rows(group), title=f"{group.title}, {group.events:,} events")
        if len(group.hardware) > 1:
            console.warn(f"timed on different machines, so that the speeds are not comparable: {'; '.join(group.hardware)}")
    for name, what in (("pareto.html", "page"), ("pareto.png", "figure"), ("pareto.svg", "figure"), ("pareto.csv", "table")):
        console.wrote(found.directory / name, what)
