"""What SPACE.yaml says: the parameters of a recipe that are searched, and from what each is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from understudy.registry import explain
from understudy.scan.settings import label
from understudy.searches import shipped

SamplerName = Literal["random", "tpe"]
PrunerName = Literal["none", "median", "halving", "hyperband"]
Drawn = str | float | int
"""What is drawn of a parameter: a number, or the label of one of its values."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(_Section):
    """One parameter, drawn from a range, from values, or from variants.

    Args:
        path: one dotted path into the recipe, or several that get the same value.
        between: lowest and highest value of a number.
        log: whether its logarithm is drawn evenly.
        integer: whether it is whole.
        step: distance of the values that it may have, from the lowest on.
        values: in place of `between`: the values for `path`.
        variants: in place of `path`: by label, values for any paths; no path at all leaves the recipe as it is.
        when: by the name of an earlier parameter, its values for which this one means anything; else it is not drawn.
        optional: leave it out where the recipe lacks it, or those of its values that the recipe refuses, in place of an error.
    """

    path: str | list[str] = []
    between: tuple[float, float] | None = None
    log: bool = False
    integer: bool = False
    step: float | None = Field(None, gt=0)
    values: list[Any] = []
    variants: dict[str, dict[str, Any]] = {}
    when: dict[str, Any] = {}
    optional: bool = False

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.between is not None) + bool(self.values) + bool(self.variants) != 1 or bool(self.path) == bool(self.variants):
            raise ValueError("give a 'path' with either 'between' or 'values', or give 'variants'")
        if len(labels := [label(v) for v in self.values]) > len(set(labels)):
            raise ValueError(f"'values' holds the same value twice: {', '.join(labels)}")
        if self.between is None and (self.log or self.integer or self.step is not None):
            raise ValueError("'log', 'integer' and 'step' belong to 'between'; leave them out")
        self._check_range()
        return self

    def _check_range(self) -> None:
        if self.between is None:
            return
        low, high = self.between
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"'between' goes from {low:g} to {high:g}; give the lower end first")
        if self.log and (low <= 0 or self.step is not None):
            raise ValueError("with 'log' the range begins above 0 and has no 'step'")
        if self.integer and any(x != int(x) for x in (low, high, self.step or 1)):
            raise ValueError("with 'integer' the ends of the range and its step are whole numbers")

    @property
    def paths(self) -> list[str]:
        """The paths that it sets, of whatever value."""
        own = [self.path] if isinstance(self.path, str) else self.path
        return list(dict.fromkeys([*own, *(path for paths in self.variants.values() for path in paths)]))

    @property
    def labels(self) -> list[str]:
        """The labels of its values or variants; none of a range."""
        return list(self.variants) or [label(value) for value in self.values]

    @property
    def ends(self) -> list[Drawn]:
        """Both ends of its range, or all labels."""
        if self.between is None:
            return list(self.labels)
        return [int(x) if self.integer else x for x in self.between]

    def without(self, labels: Sequence[Drawn]) -> Parameter:
        """The same without some of its values or variants."""
        values = [v for v in self.values if label(v) not in labels]
        return self.model_copy(update={"values": values, "variants": {k: v for k, v in self.variants.items() if k not in labels}})

    def changes(self, drawn: Drawn) -> dict[str, Any]:
        """By path, the value that `drawn` stands for."""
        if self.variants:
            return self.variants[str(drawn)]
        value = self.values[self.labels.index(str(drawn))] if self.values else drawn
        return dict.fromkeys(self.paths, value)

    def applies(self, drawn: Mapping[str, Drawn]) -> bool:
        """Whether it means anything with what was drawn of the parameters before it."""
        return all(name in drawn and str(drawn[name]) in allowed(words) for name, words in self.when.items())


def allowed(words: Any) -> list[str]:
    """Labels of the values in a `when`: one, or a list."""
    return [label(value) for value in (words if isinstance(words, list) else [words])]


class Space(_Section):
    """A search space.

    Args:
        name: the space's name.
        title: one line that says what it is.
        source: the publication it follows.
        budget: how the training was cut down to make the search affordable, in words, for the report.
        common: values for dotted paths into the recipe, for all trials.
        trials: how many to make, all machines together.
        sampler: `random`, or `tpe`, which learns from the trials so far.
        pruner: which unpromising trials are ended early: `none`, `median` (worse than half of the others at the same epoch),
            `halving` (not in the best quarter at some epochs) or `hyperband`.
        warm_up: part of the epochs in which `median` ends none: with learning rates that fall, early scores mean little.
        seed: of the draws; the trials themselves are trained with the recipe's.
        parameters: what is searched, by name; in the order in which it is drawn and set.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str = ""
    source: str = ""
    budget: str = ""
    common: dict[str, Any] = {}
    trials: int = Field(50, ge=1)
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "median"
    warm_up: float = Field(0.3, ge=0, le=1)
    seed: int = Field(1, ge=0)
    parameters: dict[str, Parameter] = Field(min_length=1)

    @model_validator(mode="after")
    def _conditions_are_known(self) -> Self:
        before: dict[str, Parameter] = {}
        for name, parameter in self.parameters.items():
            for other, words in parameter.when.items():
                if other not in before or not before[other].labels:
                    raise ValueError(
                        f"parameter {name!r} is drawn when {other!r} has some value, so {other!r} has to be one with values"
                        " or variants that stands before it"
                    )
                if unknown := [x for x in allowed(words) if x not in before[other].labels]:
                    raise ValueError(
                        f"parameter {name!r} is drawn when {other!r} is {unknown[0]}, but {other!r} has the values"
                        f" {', '.join(before[other].labels)}"
                    )
            before[name] = parameter
        return self

    @classmethod
    def load(cls, name: str | Path) -> Space:
        """A shipped space by name, or one from a YAML file.

        Raises:
            FileNotFoundError: neither a shipped space nor a file.
            ValueError: not YAML, or not a search space.
        """
        path, known = Path(name), shipped()
        if not path.is_file():
            if str(name) not in known:
                hint = f"shipped ones are {', '.join(known)}" if path.suffix == "" else "check the path"
                raise FileNotFoundError(f"no search space {str(name)!r}; {hint}")
            path = known[str(name)]
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(data, dict):
            raise ValueError(f"{path} is not a search space: expected keys and values, found {type(data).__name__}")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ValueError(explain(error, f"search space {name}", cls)) from None
