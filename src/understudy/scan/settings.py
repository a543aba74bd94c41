"""What SCAN.yaml says: a base recipe, what all runs have in common, seeds, and groups of variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from understudy.registry import explain
from understudy.scans import shipped


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Group(_Section):
    """Variants that are drawn together.

    Args:
        title: heading in the report.
        parameter: what is varied, in a word; the axis of the summary figure.
        path: one dotted path into the recipe, or several that get the same value.
        values: values for `path`, a variant each.
        variants: in place of `path` and `values`: by label, values for any paths; no path at all is the base.
        base: label of the base where none of the variants equals it.
    """

    title: str
    parameter: str = "variant"
    path: str | list[str] = []
    values: list[Any] = []
    variants: dict[str, dict[str, Any]] = {}
    base: str = "base"

    @model_validator(mode="after")
    def _has_variants(self) -> Self:
        if bool(self.path) != bool(self.values) or bool(self.values) == bool(self.variants):
            raise ValueError("there are no variants; give either 'path' with 'values', or 'variants'")
        if len(labels := [label(v) for v in self.values]) > len(set(labels)):
            raise ValueError(f"'values' holds the same value twice: {', '.join(labels)}")
        return self

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """By label, the value of each path."""
        paths = [self.path] if isinstance(self.path, str) else self.path
        return self.variants or {label(value): dict.fromkeys(paths, value) for value in self.values}


class Scan(_Section):
    """A parameter study.

    Args:
        name: the scan's name; the default directory is `scans/NAME`.
        title: one line that says what it is.
        source: the publication it follows.
        recipe: name of a shipped recipe, or a YAML file beside the scan's own.
        seed: of the division of the events, of reference events that are simulated, and of everything in the comparison.
        seeds: seeds of the runs of each variant: how many (`seed`, `seed + 1`, ...) or which.
        budget: how the training was cut down to make the study affordable, in words, for the report.
        common: values for dotted paths into the recipe, for all runs.
        groups: the variants, by the name of their group.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str = ""
    source: str = ""
    recipe: str
    seed: int = Field(1, ge=0)
    seeds: int | list[int] = 5
    budget: str = ""
    common: dict[str, Any] = {}
    groups: dict[str, Group]

    @field_validator("groups")
    @classmethod
    def _some_groups(cls, groups: dict[str, Group]) -> dict[str, Group]:
        if not groups:
            raise ValueError("there are no variants; give at least one group of them")
        return groups

    @field_validator("seeds")
    @classmethod
    def _some_seeds(cls, seeds: int | list[int]) -> int | list[int]:
        listed = [0] * seeds if isinstance(seeds, int) else seeds
        if not listed or min(listed) < 0 or (isinstance(seeds, list) and len(set(seeds)) < len(seeds)):
            raise ValueError(f"give a number of seeds, at least 1, or a list of different seeds from 0 on, not {seeds}")
        return seeds

    @property
    def run_seeds(self) -> list[int]:
        """The seeds of each variant's runs."""
        return list(range(self.seed, self.seed + self.seeds)) if isinstance(self.seeds, int) else self.seeds

    def chosen(self, only: list[str]) -> list[str]:
        """Names of the groups to run: `only` those, or all.

        Raises:
            ValueError: no group of that name.
        """
        if unknown := [name for name in only if name not in self.groups]:
            raise ValueError(f"scan {self.name} has no group {unknown[0]!r}; it has {', '.join(self.groups)}")
        return [name for name in self.groups if name in only or not only]

    @classmethod
    def load(cls, name: str | Path) -> Scan:
        """A shipped scan by name, or one from a YAML file.

        Raises:
            FileNotFoundError: neither a shipped scan nor a file.
            ValueError: not YAML, or not a scan.
        """
        path, known = Path(name), shipped()
        if not path.is_file():
            if str(name) not in known:
                hint = f"shipped scans are {', '.join(known)}" if path.suffix == "" else "check the path"
                raise FileNotFoundError(f"no scan {str(name)!r}; {hint}")
            path = known[str(name)]
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(data, dict):
            raise ValueError(f"{path} is not a scan: expected keys and values, found {type(data).__name__}")
        if isinstance(data.get("recipe"), str) and (beside := path.parent / data["recipe"]).is_file():
            data["recipe"] = str(beside)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ValueError(explain(error, f"scan {name}", cls)) from None


def label(value: Any) -> str:
    """A value as the name of its variant."""
    return f"{value:g}" if isinstance(value, float) else str(value)
