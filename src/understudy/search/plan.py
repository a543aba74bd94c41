"""From a search space's words to recipes: a draw's recipe, and the check that every parameter is one of the recipe's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from understudy.build import build_geometry, build_preparation, check_stages
from understudy.deployment.bundle import load_needs
from understudy.paths import changed, get
from understudy.recipe import Recipe
from understudy.scan.plan import MAY_VARY
from understudy.search.space import Drawn, Parameter, Space, allowed

Assignment = Mapping[str, Drawn]
"""What was drawn, by parameter."""


@dataclass(frozen=True)
class Plan:
    """A space for one recipe.

    Args:
        space: what is searched, without the optional parameters that the recipe lacks.
        base: the recipe that all trials have in common.
        left_out: optional parameters that the recipe lacks.
    """

    space: Space
    base: Recipe
    left_out: tuple[str, ...] = ()

    def changes(self, drawn: Assignment) -> dict[str, Any]:
        """By path, the values of a draw."""
        return {path: v for name, value in drawn.items() for path, v in self.space.parameters[name].changes(value).items()}

    def recipe(self, drawn: Assignment) -> Recipe:
        """The recipe of a draw; ValueError that says which where the recipe refuses it or its events would be others."""
        before, changes = self.base.to_dict(), self.changes(drawn)
        said = ", ".join(f"{path} = {value}" for path, value in changes.items())
        where = f"search space {self.space.name} ({said})"
        recipe = Recipe.from_dict(changed(before, changes, where), where)
        words = recipe.to_dict()
        if wrong := [key for key in words if words[key] != before.get(key) and key not in MAY_VARY]:
            raise ValueError(f"{where}: trials share their events, so {wrong[0]!r} cannot be searched; put it into 'common'")
        if words["stages"][:-1] != before["stages"][:-1]:
            raise ValueError(f"{where}: only the model of the response is trained in a search; give paths into its stage alone")
        return recipe

    def probes(self) -> Iterator[tuple[str, dict[str, Drawn]]]:
        """Each parameter at each of its values or ends, with those that it depends on, and nothing else."""
        for name, parameter in self.space.parameters.items():
            for value in parameter.ends:
                yield name, {**self.needed(parameter), name: value}

    def needed(self, parameter: Parameter) -> dict[str, Drawn]:
        """The values on which a parameter depends, the first ones that it allows."""
        found: dict[str, Drawn] = {}
        for other, words in parameter.when.items():
            found |= {**self.needed(self.space.parameters[other]), other: allowed(words)[0]}
        return {name: found[name] for name in self.space.parameters if name in found}

    def of_the_base(self) -> dict[str, Drawn] | None:
        """The draw that leaves the recipe as it is; None where the space does not hold it."""
        found: dict[str, Drawn] = {}
        for name, parameter in self.space.parameters.items():
            if parameter.applies(found):
                if (value := self._own(parameter)) is None:
                    return None
                found[name] = value
        return found

    def _own(self, parameter: Parameter) -> Drawn | None:
        words = self.base.to_dict()
        if parameter.between is None:
            unchanged = (x for x in parameter.labels if self._same(changed(words, parameter.changes(x))))
            return next(unchanged, None)
        (low, high), (value, *others) = parameter.between, [get(words, path) for path in parameter.paths]
        if isinstance(value, bool) or not isinstance(value, int | float) or any(x != value for x in others):
            return None
        step = parameter.step or (1 if parameter.integer else None)
        steps = 0.0 if step is None else (value - low) / step
        fits = low <= value <= high and math.isclose(steps, round(steps), abs_tol=1e-9)
        return (int(value) if parameter.integer else float(value)) if fits else None

    def _same(self, words: Mapping[str, Any]) -> bool:
        try:
            return Recipe.from_dict(words).fingerprint == self.base.fingerprint
        except ValueError:
            return False


def make_plan(space: Space, base: Recipe) -> Plan:
    """A space for a recipe, every value of every parameter tried once.

    Raises:
        ValueError: the recipe lacks a parameter, or refuses a value; names the parameter and what there is instead.
    """
    plan = Plan(space, base)
    lacking: list[str] = []
    for name, parameter in space.parameters.items():
        if dependent := [other for other in parameter.when if other in lacking]:
            if not parameter.optional:
                raise ValueError(
                    f"search space {space.name}, parameter {name!r}: it depends on {dependent[0]!r}, which recipe {base.name}"
                    " lacks; make both optional"
                )
            lacking.append(name)
        elif parameter.optional and not _has(plan, name, parameter):
            lacking.append(name)
    kept = {name: p for name, p in space.parameters.items() if name not in lacking}
    if not kept:
        raise ValueError(f"search space {space.name}: recipe {base.name} has none of its parameters; choose another space")
    plan = Plan(space.model_copy(update={"parameters": kept}), base, tuple(lacking))
    for name, drawn in plan.probes():
        _check_paths(plan, name, drawn)
        _told(name, partial(plan.recipe, drawn))
    return plan


def check_plan(plan: Plan) -> None:
    """Build the model of every probe, untrained; ValueError that names the parameter whose value does not fit."""
    geometry = build_geometry(plan.base)
    schema = build_preparation(plan.base, geometry).schema(plan.base.reference().schema)
    for name, drawn in plan.probes():
        recipe = plan.recipe(drawn)
        _told(name, partial(check_stages, recipe, schema, geometry, load_needs(recipe)))


def _told(name: str, do: Callable[[], Any]) -> None:
    try:
        do()
    except (ValueError, KeyError) as error:
        raise ValueError(f"parameter {name!r}: {error.args[0] if error.args else error}") from None


def _has(plan: Plan, name: str, parameter: Parameter) -> bool:
    try:
        _check_paths(plan, name, {**plan.needed(parameter), name: parameter.ends[-1]})
    except ValueError:
        return False
    return True


def _check_paths(plan: Plan, name: str, drawn: Assignment) -> None:
    """ValueError unless every path of a parameter leads to something, once those that it depends on are set."""
    parameter = plan.space.parameters[name]
    before = {k: v for k, v in drawn.items() if k != name}
    words = plan.recipe(drawn if parameter.variants else before).to_dict()
    where = f"search space {plan.space.name}, parameter {name!r}, recipe {plan.base.name}"
    for path in parameter.changes(drawn[name]):
        get(words, path, where)
