"""From a scan's words to its runs: every variant's recipe, checked before anything is computed.

Variants whose recipes are equal are one and are run once, in whatever groups they are: the base above all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.build import build_geometry, build_preparation, check_stages
from understudy.deployment.bundle import load_needs
from understudy.needs import pin
from understudy.paths import changed
from understudy.recipe import Recipe
from understudy.scan.settings import Scan

BASE = "base"
MAY_VARY = ("stages", "needs")
"""Keys of a recipe in which variants may differ; the rest makes the events that all of them share."""


@dataclass(frozen=True)
class Variant:
    """One recipe of the study: its name, which is that of its folder, what is changed in the base, and where that was said."""

    name: str
    changes: Mapping[str, Any]
    recipe: Recipe
    where: str

    def with_seed(self, seed: int) -> Recipe:
        """The recipe of one run: the division of the events stays that of the scan."""
        split = self.recipe.split
        own = self.recipe.seed if split.seed is None else split.seed
        return self.recipe.model_copy(update={"seed": seed, "split": split.model_copy(update={"seed": own})})


@dataclass(frozen=True)
class Task:
    """One run of a variant, in a folder of its own."""

    variant: str
    seed: int
    recipe: Recipe
    folder: Path


@dataclass(frozen=True)
class Plan:
    """All that a scan asks for.

    Args:
        scan: what was asked for.
        base: the recipe that all runs have in common; its seed is the scan's.
        variants: by name, the base first.
        groups: by group, the name of the variant behind each label.
    """

    scan: Scan
    base: Recipe
    variants: Mapping[str, Variant]
    groups: Mapping[str, Mapping[str, str]]

    def tasks(self, out: Path, groups: list[str]) -> list[Task]:
        """The runs of some groups, seed by seed, so that an early end leaves all variants with the same seeds."""
        wanted = dict.fromkeys(name for group in groups for name in self.groups[group].values())
        return [
            Task(name, seed, self.variants[name].with_seed(seed), out / "runs" / name / f"seed-{seed}")
            for seed in self.scan.run_seeds
            for name in (BASE, *(n for n in wanted if n != BASE))
        ]


def make_plan(
    scan: Scan,
    *,
    data: str | Path | None = None,
    reference: str | None = None,
    events: int | None = None,
    seed: int | None = None,
) -> Plan:
    """Every variant's recipe.

    Args:
        scan: what is asked for.
        data: a file of reference events in place of the recipe's own reference.
        reference: one of the recipe's alternative references, by name.
        events: how many events to simulate, or to use of a file.
        seed: in place of the scan's.

    Raises:
        ValueError: an unknown path, a value that the recipe refuses, or variants that do not share their events.
    """
    scan = scan if seed is None else scan.model_copy(update={"seed": seed})
    where = f"scan {scan.name}: common"
    base = base_recipe(scan.recipe, scan.common, where, data=data, reference=reference, events=events, seed=scan.seed)
    variants = {BASE: Variant(BASE, {}, base, f"scan {scan.name}: common")}
    known = {base.fingerprint: BASE}
    groups: dict[str, dict[str, str]] = {}
    for name, group in scan.groups.items():
        labels: dict[str, str] = {}
        for label, changes in group.changes.items():
            where = f"scan {scan.name}, group {name}, variant {label!r}"
            recipe = _variant(base, changes, where)
            if recipe.fingerprint not in known:
                known[recipe.fingerprint] = called = _folder(f"{name}-{label}", variants)
                variants[called] = Variant(called, changes, recipe, where)
            labels[label] = known[recipe.fingerprint]
        groups[name] = labels if BASE in labels.values() else {group.base: BASE, **labels}
    return Plan(scan, base, variants, groups)


def check_plan(plan: Plan) -> None:
    """Build every variant once, untrained; ValueError that names the variant whose parts do not fit each other."""
    geometry = build_geometry(plan.base)
    schema = build_preparation(plan.base, geometry).schema(plan.base.reference().schema)
    for variant in plan.variants.values():
        try:
            check_stages(variant.recipe, schema, geometry, load_needs(variant.recipe))
        except (ValueError, KeyError) as error:
            raise ValueError(f"{variant.where}: {error.args[0] if error.args else error}") from None


def base_recipe(
    recipe: str | Path,
    common: Mapping[str, Any],
    where: str,
    *,
    data: str | Path | None = None,
    reference: str | None = None,
    events: int | None = None,
    seed: int | None = None,
) -> Recipe:
    """A recipe without its baseline, with the changes that all runs have in common, trained on one thread.

    Args:
        recipe: the name of a shipped one, or the path of a YAML file.
        common: values for dotted paths into it.
        where: who says so, for errors.
        data: a file of reference events in place of the recipe's own reference.
        reference: one of the recipe's alternative references, by name.
        events: how many events to simulate, or to use of a file.
        seed: in place of the recipe's.

    Raises:
        ValueError: an unknown path, or a value that the recipe refuses.
    """
    words = changed({**Recipe.load(recipe).to_dict(), "baseline": None}, common, where)
    said = Recipe.from_dict(words, where)
    settled = changed(said.to_dict(), {f"stages.{len(said.stages) - 1}.training.threads": 1})
    return pin(Recipe.from_dict(settled, where).using(data=data, reference=reference, events=events, seed=seed))


def _variant(base: Recipe, changes: Mapping[str, Any], where: str) -> Recipe:
    before = base.to_dict()
    words = changed(before, changes, where)
    said = ", ".join(f"{path} = {value}" for path, value in changes.items())
    if wrong := [key for key in words if words[key] != before.get(key) and key not in MAY_VARY]:
        raise ValueError(f"{where} ({said}): variants share their events, so {wrong[0]!r} cannot vary; put it into 'common'")
    return Recipe.from_dict(words, f"{where} ({said})")


def _folder(words: str, taken: Mapping[str, Any]) -> str:
    """A name for a folder, of letters that every system takes, unlike those that are taken."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-.")
    return name if name not in taken else f"{name}-{hashlib.sha256(words.encode()).hexdigest()[:6]}"
