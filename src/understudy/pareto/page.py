"""`pareto.html`: one self-contained page, in the style of a run's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from understudy.pareto.figures import SHORTEST, group_figure, published_figure
from understudy.pareto.points import Group
from understudy.pareto.published import CITATION, NUMBERS, published
from understudy.validation import figures
from understudy.validation.html_tables import quantity


def page(
    groups: Sequence[Group],
    tables: Sequence[Sequence[Mapping[str, Any]]],
    judges: Sequence[str],
    batch: int,
    engine: str,
) -> str:
    """The page as text.

    Args:
        groups: stand-ins that may be compared with each other.
        tables: a table for each of them, rows of text by column.
        judges: short names of the judges.
        batch: batch size of the timing.
        engine: that was timed.
    """
    loaders = [PackageLoader("understudy.pareto", "templates"), PackageLoader("understudy.validation", "templates")]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    sections = [
        {
            "group": group,
            "rows": rows,
            "colours": figures.colours(p.label for p in group.points),
            "picture": figures.svg(group_figure(group, judges, batch, engine), f"AUC against cost, {group.reference}"),
        }
        for group, rows in zip(groups, tables, strict=True)
    ]
    return environment.get_template("pareto.html.j2").render(
        sections=sections,
        batch=batch,
        engine={"onnx": "ONNX Runtime", "torch": "torch"}[engine],
        shortest=SHORTEST,
        published=published(),
        picture=official_picture(),
        citation=CITATION,
        numbers=NUMBERS,
        quantity=quantity,
    )


@cache
def official_picture() -> figures.Picture:
    """The published points, always the same."""
    return figures.svg(published_figure(published()), "AUC against ms per shower, CaloChallenge's official points")
