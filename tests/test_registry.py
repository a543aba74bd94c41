import sys
import types
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from understudy import registry
from understudy.registry import Factory, Given, Part, check_arguments, factory, kinds, lookup, register


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x_min: float = 0.0


class Engine:
    def __init__(self, power: float = 1.0, n_inputs: Given[int] = 0) -> None:
        self.power, self.n_inputs = power, n_inputs


class Car:
    def __init__(
        self,
        doors: Annotated[int, Field(ge=2)],
        geometry: Given[str],
        engine: Annotated[Factory, Part("garage")],
        spares: Annotated[list[Factory], Part("garage")] = (),
        radio: Annotated[Factory | None, Part("garage")] = None,
        colour: Literal["red", "blue"] = "red",
        settings: Settings | None = None,
    ) -> None:
        self.doors, self.geometry, self.colour, self.settings = doors, geometry, colour, settings
        self.engine = engine(n_inputs=7, unasked="left out")
        self.spares, self.radio = [s() for s in spares], radio


class Bicycle:
    """No arguments at all."""


@dataclass
class Boat:
    length: float
    crew: list[str] = field(default_factory=list)


class Parked:
    """Its recipe decides where: what a builder offers under the same name does not."""

    def __init__(self, place: str = "street") -> None:
        self.place = place


@pytest.fixture(autouse=True)
def garage(monkeypatch):
    """A room of its own, filled here; the rooms of the house stay as they are."""
    entries = {"engine": Engine, "car": Car, "bicycle": Bicycle, "boat": Boat, "parked": Parked}
    monkeypatch.setattr(registry, "_ROOMS", {**registry._ROOMS, "garage": entries})
    monkeypatch.setattr(registry, "_FILLED", {*registry._FILLED, "garage"})


CAR = {"kind": "car", "doors": 4, "engine": {"kind": "engine", "power": 2}}


def test_building_with_what_only_the_owner_knows():
    car = factory("garage", CAR)(geometry="flat")
    assert (car.doors, car.geometry, car.colour) == (4, "flat", "red")
    assert (car.engine.power, car.engine.n_inputs) == (2.0, 7)
    assert car.spares == []
    assert car.radio is None


def test_a_kind_alone_is_enough():
    assert isinstance(factory("garage", "bicycle")(), Bicycle)
    assert factory("garage", {"kind": "car", "doors": 2, "engine": "engine"})(geometry="").engine.power == 1.0


def test_lists_of_parts():
    car = factory("garage", {**CAR, "spares": ["engine", {"kind": "engine", "power": 5}], "radio": "bicycle"})(geometry="")
    assert [s.power for s in car.spares] == [1.0, 5.0]
    assert isinstance(car.radio(), Bicycle)


def test_a_factory_is_checked_once():
    made = factory("garage", CAR)
    assert factory("garage", made) is made


def test_a_dataclass_is_a_kind_too():
    boat = factory("garage", {"kind": "boat", "length": 3, "crew": ["Ann"]})()
    assert boat == Boat(3.0, ["Ann"])
    assert factory("garage", {"kind": "boat", "length": 3})() == Boat(3.0, [])


def test_the_recipe_has_the_last_word():
    assert factory("garage", {"kind": "parked", "place": "hall"})(place="offered").place == "hall"
    assert factory("garage", "parked")(place="offered").place == "street"


def test_the_resolved_words_hold_the_defaults_and_build_the_same():
    words = factory("garage", {**CAR, "spares": ["engine"], "settings": {"x_min": 1}}).to_dict()
    assert words == {
        "kind": "car",
        "doors": 4,
        "colour": "red",
        "settings": {"x_min": 1.0},
        "engine": {"kind": "engine", "power": 2.0},
        "spares": [{"kind": "engine", "power": 1.0}],
        "radio": None,
    }
    assert factory("garage", words).to_dict() == words


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({**CAR, "kind": "cra"}, r"^model.kind: no kind 'cra' in garage \(did you mean 'car'\?\); there are .*bicycle"),
        ("zeppelin", r"^model.kind: no kind 'zeppelin' in garage; there are"),
        (
            {**CAR, "color": "red"},
            r"^model: unknown key 'color' \(did you mean 'colour'\?\); allowed: doors, colour, settings, engine",
        ),
        ({**CAR, 1: 2}, "^model: unknown key 1"),
        ({**CAR, "geometry": "flat"}, "^model: unknown key 'geometry'"),
        ({"kind": "car", "engine": "engine"}, "^model: the key 'doors' is missing"),
        ({"kind": "car", "doors": 4}, r"^model: the key 'engine' is missing; give a kind from garage \(.*engine"),
        ({**CAR, "doors": "many"}, "^model.doors: input should be a valid integer.*found 'many'"),
        ({**CAR, "doors": 1}, "^model.doors: input should be greater than or equal to 2, found 1"),
        ({**CAR, "colour": "green"}, "^model.colour: input should be 'red' or 'blue', found 'green'"),
        ({**CAR, "settings": {"x_max": 1}}, "^model.settings: unknown key 'x_max' .did you mean 'x_min'.*allowed: "),
        ({**CAR, "settings": {"x_min": "low"}}, "^model.settings.x_min: .*found 'low'"),
        (
            {**CAR, "engine": {"kind": "engine", "power": "much"}},
            "^model.engine.power: input should be a valid number.*found 'much'",
        ),
        ({**CAR, "engine": {"power": 1}}, "^model.engine: expected a mapping with a 'kind' from garage .*found"),
        ({**CAR, "spares": ["engine", "egnine"]}, r"^model.spares\[1\].kind: no kind 'egnine' in garage \(did you mean 'engine'"),
        ({"kind": "bicycle", "bell": True}, "^model: unknown key 'bell'; allowed: none"),
        (4, "^model: expected a mapping with a 'kind' from garage .*found 4"),
        (None, "found None"),
    ],
)
def test_a_mistake_is_named_with_its_place(spec, message):
    with pytest.raises(ValueError, match=message) as caught:
        factory("garage", spec, "model")
    assert "\n" not in str(caught.value)
    assert "x_x_" not in str(caught.value)


def test_a_mistake_without_a_place_names_the_room_or_the_kind():
    with pytest.raises(ValueError, match=r"^garage: expected a mapping"):
        factory("garage", {})
    with pytest.raises(ValueError, match=r"^car\.doors: "):
        factory("garage", {**CAR, "doors": "x"})


def test_functions_have_arguments_too():
    def build(n: int, scale: float = 2.0, *rest: int, **more: int) -> float:
        return n * scale

    assert check_arguments(build, {"n": 3}, "f") == {"n": 3, "scale": 2.0}


def test_one_name_one_class():
    register("garage", "engine")(Engine)
    with pytest.raises(ValueError, match="garage already has a kind 'engine'"):
        register("garage", "engine")(Bicycle)


def test_a_rooms_modules_are_imported_at_first_use(monkeypatch, tmp_path):
    folder = tmp_path / "attic"
    folder.mkdir()
    (folder / "chest.py").write_text("from understudy.registry import register\n@register('attic', 'chest')\nclass Chest: ...\n")
    package = types.ModuleType("understudy.attic")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "understudy.attic", package)
    monkeypatch.setattr(registry, "_ROOMS", {})
    assert list(kinds("attic")) == ["chest"]
    assert lookup("attic", "chest").__name__ == "Chest"
    monkeypatch.delitem(sys.modules, "understudy.attic.chest")


def test_the_rooms_of_the_house_have_documented_kinds():
    for room in ("references", "transforms", "projections", "models", "networks"):
        found = kinds(room)
        assert found
        for kind, constructor in found.items():
            assert constructor.__doc__, f"{room}: {kind} says nothing of itself"
            check = registry.inspect.signature(constructor)
            assert all(p.annotation is not p.empty for p in check.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD), kind
