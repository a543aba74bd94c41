"""From a search space's words to recipes: a draw's recipe, and the check that every parameter is one of the recipe's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from understudy.build import build_geometry, build_preparation, check_stages
from understudy.deployment.bundle import load_needs
from understudy.geometry import Calorimeter
from understudy.paths import changed, get
from understudy.recipe import Recipe
from understudy.scan.plan import MAY_VARY
from understudy.schema import Schema
from understudy.search.space import Drawn, Parameter, Space, allowed

Assignment = Mapping[str, Drawn]
"""What was drawn, by parameter."""


@dataclass(frozen=True)
class Plan:
    """A space for one recipe.

    Args:
        space: what is searched, without optional parameters and values that the recipe lacks.
        base: the recipe that all trials have in common.
        left_out: those.
    """

    space: Space
    base: Recipe
    left_out: tuple[str, ...] = ()

    @cached_property
    def _words(self) -> dict[str, Any]:
        """The base as plain data."""
        return self.base.to_dict()

    def changes(self, drawn: Assignment) -> dict[str, Any]:
        """By path, the values of a draw."""
        return {path: v for name, value in drawn.items() for path, v in self.space.parameters[name].changes(value).items()}

    def recipe(self, drawn: Assignment) -> Recipe:
        """The recipe of a draw; ValueError that says which where the recipe refuses it or its events would be others."""
        before, changes = self._words, self.changes(drawn)
        said = ", ".join(f"{path} = {value}" for path, value in changes.items())
        where = f"recipe {self.base.name} with {said or 'no change'}"
        recipe = Recipe.from_dict(changed(before, changes, where), where)
        words = recipe.to_dict()
        if wrong := [key for key in words if words[key] != before.get(key) and key not in MAY_VARY]:
            raise ValueError(f"{where}: trials share their events, so {wrong[0]!r} cannot be searched; put it into 'common'")
        if words["stages"][:-1] != before["stages"][:-1]:
            raise ValueError(f"{where}: only the model of the response is trained in a search; give paths into its stage alone")
        return recipe

    def where(self, name: str) -> str:
        """A parameter, for errors."""
        return f"search space {self.space.name}, parameter {name!r}"

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
        words = self._words
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
    """A space for a recipe, with every value of every parameter tried once: its model is built, untrained.

    Raises:
        ValueError: the recipe lacks a parameter, or refuses a value; names the parameter and what there is instead.
    """
    geometry = build_geometry(base)
    schema = build_preparation(base, geometry).schema(base.reference().schema)
    kept: dict[str, Parameter] = {}
    left: list[str] = []
    for name, said in space.parameters.items():
        parameter = said.model_copy(update={"when": _possible(said, kept)})
        plan = Plan(space.model_copy(update={"parameters": {**kept, name: parameter}}), base)
        if not all(parameter.when.values()):
            if not said.optional:
                raise ValueError(f"{plan.where(name)}: what it depends on was left out; make it optional as well")
            left.append(name)
            continue
        refused = []
        for value in parameter.ends:
            try:
                _try(plan, name, {**plan.needed(parameter), name: value}, schema, geometry)
            except (ValueError, KeyError) as error:
                if not said.optional:
                    raise ValueError(f"{plan.where(name)}: {error.args[0] if error.args else error}") from None
                refused.append(value)
        if parameter.between is not None or len(refused) == len(parameter.ends):
            left += [name] * bool(refused)
            kept |= {} if refused else {name: parameter}
        else:
            left += [f"{name} {value}" for value in refused]
            kept[name] = parameter.without(refused)
    if not kept:
        raise ValueError(f"search space {space.name}: recipe {base.name} has none of its parameters; choose another space")
    return Plan(space.model_copy(update={"parameters": kept}), base, tuple(left))


def _possible(parameter: Parameter, kept: Mapping[str, Parameter]) -> dict[str, Any]:
    """What a parameter depends on, as far as it was not left out."""
    return {
        name: [value for value in allowed(words) if name in kept and value in kept[name].labels]
        for name, words in parameter.when.items()
    }


def _try(plan: Plan, name: str, drawn: Assignment, schema: Schema, geometry: Calorimeter | None) -> None:
    """ValueError or KeyError unless every path of a parameter leads to something, and its recipe is one."""
    parameter = plan.space.parameters[name]
    before = {k: v for k, v in drawn.items() if k != name}
    words = plan.recipe(drawn if parameter.variants else before).to_dict()
    for path in parameter.changes(drawn[name]):
        get(words, path, f"recipe {plan.base.name}")
    recipe = plan.recipe(drawn)
    check_stages(recipe, schema, geometry, load_needs(recipe))
