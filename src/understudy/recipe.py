"""Recipe: everything a run needs, read from YAML, checked before anything is computed, written back resolved.

A recipe is constructor arguments and nothing else. Wherever an object is asked for, `kind: name` picks its class and the
other keys are that class's own arguments (see `understudy.registry`). A recipe may extend another one and say only what is
different (see `understudy.inheritance`). An unknown key, kind or a wrong type is one sentence
that names the key, what was found and what is allowed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from understudy.inheritance import inherited
from understudy.noise import NoiseSettings
from understudy.propagation import Propagate
from understudy.recipes import shipped
from understudy.registry import Factory, explain, factory, lookup
from understudy.symmetry import Augment, Canonicalise
from understudy.training.settings import TrainingSettings
from understudy.validation.settings import ValidationSettings

_Plain = PlainSerializer(lambda entry: entry.to_dict(), return_type=dict)

ReferenceEntry = Annotated[Factory, BeforeValidator(lambda value: factory("references", value)), _Plain]
TransformEntry = Annotated[Factory, BeforeValidator(lambda value: factory("transforms", value)), _Plain]
ProjectionEntry = Annotated[Factory, BeforeValidator(lambda value: factory("projections", value)), _Plain]
ModelEntry = Annotated[Factory, BeforeValidator(lambda value: factory("models", value)), _Plain]
CalibrationEntry = Annotated[Factory, BeforeValidator(lambda value: factory("calibrations", value)), _Plain]
"""A `kind: name` of a room, checked and held as a Factory."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Split(_Section):
    """Fractions of the events; consecutive groups of `group` events (one seed each, say) stay together.

    `seed` divides them; the run's own if None. Runs of different seeds with one `split.seed` share their test events.
    `train_events` leaves so many of the training events, by groups; validation and test events stay the same.
    """

    train: float = Field(0.7, gt=0, lt=1)
    validation: float = Field(0.1, gt=0, lt=1)
    test: float = Field(0.2, gt=0, lt=1)
    group: int = Field(1, ge=1)
    seed: int | None = Field(None, ge=0)
    train_events: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if (total := self.train + self.validation + self.test) > 1 + 1e-9:
            raise ValueError(f"train, validation and test add up to {total:g}, more than 1")
        return self


class Need(_Section):
    """An earlier run that this one builds on: the directory of a `run`, or the `recipe` of one that is then done first.

    `sha256` pins the content of its bundle. A need with `own_events` was trained on events of another kind (single tracks, say,
    for a run of whole events) and keeps its own reference; any other one is trained on the very training events of this run.
    """

    run: str | None = None
    recipe: str | None = None
    sha256: str | None = None
    own_events: bool = False

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.run is None and self.recipe is None:
            raise ValueError("a need names the directory of a 'run', or the 'recipe' of one that is to be done first")
        return self


def _need(value: Any) -> Any:
    return {"run": value} if isinstance(value, str) else value


class StageRecipe(_Section):
    """One model: what it produces, from which features, in which space, and how it is trained.

    `augment` enlarges its training split by images under the geometry's symmetries; `canonicalise` brings each event to one of
    its images, the same for all of them, and what is generated back. `calibration` corrects what the trained model generates,
    each entry what the one before has left. `weights` says how events count that have weights: `signed` as they are; `expected`
    by the expectation of the weight given response and features, which is not negative (see `understudy.signed`), transforms
    being fitted with it too; `none`: all events count alike, background and signal, for comparison.
    """

    produces: str = "response"
    features: dict[str, str]
    transforms: list[TransformEntry] = []
    model: ModelEntry
    augment: Augment | None = None
    canonicalise: Canonicalise | None = None
    weights: Literal["signed", "expected", "none"] = "signed"
    training: TrainingSettings = TrainingSettings()
    calibration: list[CalibrationEntry] = []

    @model_validator(mode="after")
    def _symmetries_are_used_once(self) -> Self:
        if self.augment is not None and self.canonicalise is not None:
            raise ValueError(
                f"the stage of {self.produces!r} has both 'augment' and 'canonicalise': in the canonical frame all images are"
                " the same event; leave one out"
            )
        return self


class Recipe(_Section):
    """Everything a run needs.

    Args:
        name: the recipe's name; the default run directory is `runs/NAME`.
        title: one line that says what it is.
        source: the publication it follows.
        seed: every random number of a run comes from it.
        reference: where the events come from (a file, or a simulator with its gun).
        alternatives: other references for the same events, chosen with `--reference NAME`.
        events: how many events to simulate, or to use of a file (all of them if absent).
        geometry: what the response's numbers are; events of a larger geometry are cropped to it, cell by cell.
        conditions: the conditions a user gives, of those the reference has (all of them if absent).
        noise: electronic noise of the cells, added to the reference before the projections.
        projections: thresholds and caps; applied to the reference first and to the stand-in last.
        derived: conditions computed from the response after the projections, e.g. `total_energy`.
        select: allowed range per condition; events outside are left out.
        invert: learn the given conditions from the response: at the end of the preparation the two change places.
        needs: earlier runs whose trained stand-ins the models of this one use, by name, each a `run` or the `recipe` of one that
            is done first; pinned by content when it is run. Those that tell the conditions from the response (`invert`)
            say in the report what they read from the stand-in's response.
        propagate: replace the tracks among the conditions by the sum of the images that a need makes of them.
        split: fractions for training, validation and test.
        hold_out: range per condition of the reference; events inside all of them are tested with and never trained on.
        stages: the models, in order; the last one produces the response.
        baseline: a model to beat, compared in the same report.
        validation: settings of the report.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str = ""
    source: str = ""
    seed: int = Field(1, ge=0)
    reference: ReferenceEntry
    alternatives: dict[str, ReferenceEntry] = {}
    events: int | None = Field(None, ge=1)
    geometry: str | None = None
    conditions: list[str] | None = None
    noise: NoiseSettings | None = None
    projections: list[ProjectionEntry] = []
    derived: list[str] = []
    select: dict[str, tuple[float, float]] = {}
    invert: bool = False
    needs: dict[str, Annotated[Need, BeforeValidator(_need)]] = {}
    propagate: Propagate | None = None
    split: Split = Split()
    hold_out: dict[str, tuple[float, float]] = {}
    stages: list[StageRecipe] = Field(min_length=1)
    baseline: StageRecipe | None = None
    validation: ValidationSettings = ValidationSettings()

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        if self.stages[-1].produces != "response":
            raise ValueError(f"the last stage produces {self.stages[-1].produces!r}; it must produce 'response'")
        for stage in self.stages[:-1]:
            if stage.produces == "detected":
                if len(self.stages) != 2:
                    raise ValueError("a stage that produces 'detected' goes together with that of the response alone")
                if not hasattr(lookup("models", stage.model.kind), "drawn"):
                    raise ValueError(f"a stage that produces 'detected' needs the model 'detection', not {stage.model.kind!r}")
            elif stage.produces not in self.derived:
                raise ValueError(f"a stage produces {stage.produces!r}, which 'derived' does not name")
        if self.baseline is not None and self.baseline.produces != "response":
            raise ValueError(f"the baseline produces {self.baseline.produces!r}; it must produce 'response'")
        return self

    @model_validator(mode="after")
    def _references_have_names_of_their_own(self) -> Self:
        if self.reference.kind in self.alternatives:
            raise ValueError(f"'alternatives' names {self.reference.kind!r}, which is the reference's own kind; rename it")
        return self

    @model_validator(mode="after")
    def _propagates_by_a_need(self) -> Self:
        if self.propagate is not None and self.propagate.need not in self.needs:
            raise ValueError(
                f"'propagate' uses the need {self.propagate.need!r}, but 'needs' names {', '.join(self.needs) or 'nothing'};"
                " add it"
            )
        return self

    @field_validator("select", "hold_out")
    @classmethod
    def _ranges_are_in_order(cls, select: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in select.items():
            if not low <= high:
                raise ValueError(f"the range of {name!r} goes from {low:g} to {high:g}; give the lower end first")
        return select

    @property
    def baseline_name(self) -> str:
        """What the baseline is called in the report: its model's kind."""
        kind = "" if self.baseline is None else self.baseline.model.kind
        return f"{kind} baseline" if kind == self.name else kind

    @classmethod
    def from_dict(cls, data: Any, where: str = "recipe") -> Recipe:
        """Check plain data; ValueError in one sentence that names the key."""
        if not isinstance(data, Mapping):
            raise ValueError(f"{where} is not a recipe: expected keys and values, found {type(data).__name__}")
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise ValueError(explain(error, where, cls)) from None

    @classmethod
    def load(cls, name: str | Path) -> Recipe:
        """A shipped recipe by name, or one from a YAML file.

        Raises:
            FileNotFoundError: neither a shipped recipe nor a file.
            ValueError: not YAML, or not a recipe.
        """
        return cls.from_dict(read_yaml(name), f"recipe {name}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every default filled in."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The resolved recipe as YAML; `Recipe.load` reads it back."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, width=120)

    @property
    def fingerprint(self) -> str:
        """A hash of the resolved recipe: same fingerprint, same run."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def using(
        self,
        *,
        data: str | Path | None = None,
        reference: str | None = None,
        seed: int | None = None,
        events: int | None = None,
        card: str | Path | None = None,
        particle: str | None = None,
    ) -> Recipe:
        """This recipe with another data file, another named reference, a Delphes card, another seed, or another number of events.

        Raises:
            ValueError: no reference of that name, a file as well as a reference that simulates, or a number out of range.
        """
        changes: dict[str, Any] = {}
        for name, value, lowest in (("seed", seed, 0), ("events", events, 1)):
            if value is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, not {value}")
            if value is not None:
                changes[name] = value
        if reference is not None:
            changes["reference"] = self.reference_called(reference)
        if data is not None:
            old: Factory = changes.get("reference", self.reference)
            if reference is not None and not is_file(old):
                raise ValueError(f"the events come from a file or from {reference}; give --data or --reference, not both")
            changes["reference"] = _with_file(old, str(data))
        if card is not None or particle is not None:
            if data is not None or reference is not None:
                raise ValueError("the events come from a file, from a named reference or from a card; give one of the three")
            changes["reference"] = self._of_card(card, particle)
        return self.model_copy(update=changes)

    def _of_card(self, card: str | Path | None, particle: str | None) -> Factory:
        """The reference that is a particle of a card, with this recipe's gun."""
        kept = {k: v for k, v in self.reference.to_dict().items() if k in ("gun", "card", "particle", "leave_out")}
        if "gun" not in kept or not self.reference.kind.startswith("delphes"):
            raise ValueError(f"recipe {self.name} simulates no single tracks, so it can learn no card; choose delphes-electron")
        said = {k: str(v) for k, v in (("card", card), ("particle", particle)) if v is not None}
        return factory("references", {**kept, **said, "kind": "delphes-card"}, "--card")

    def reference_called(self, name: str) -> Factory:
        """The reference or alternative called `name` (by its name here, or by its kind)."""
        known = {self.reference.kind: self.reference, **self.alternatives}
        if name not in known:
            raise ValueError(f"recipe {self.name} has no reference {name!r}; it has {', '.join(known)}")
        return known[name]


def is_file(reference: Factory) -> bool:
    """Whether a reference's events come from a file; others simulate them."""
    return reference.kind in ("file", "table")


def _with_file(old: Factory, path: str) -> Factory:
    """A reference that reads `path`, as `old` reads its file where it does."""
    kind = old.kind if is_file(old) else "file"
    kept = {k: v for k, v in old.arguments.items() if k != "path"} if is_file(old) else {}
    return factory("references", {"kind": kind, **kept, "path": path})


def read_yaml(name: str | Path) -> Any:
    """The plain data of a shipped recipe or a YAML file; what it extends is filled in (see `inheritance.py`)."""
    return inherited(*_read(name), _read, lambda data, where: Recipe.from_dict(data, where).to_dict())


def _read(name: str | Path) -> tuple[Any, Path]:
    """What a shipped recipe or a YAML file says itself, and its file."""
    path = Path(name)
    if not path.is_file():
        known = shipped()
        if str(name) not in known:
            hint = f"shipped recipes are {', '.join(known)}" if path.suffix == "" else "check the path"
            raise FileNotFoundError(f"no recipe {str(name)!r}; {hint}")
        path = known[str(name)]
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")), path
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not YAML: {reason}") from None
