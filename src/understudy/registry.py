"""`kind: name` in a recipe picks a class; the other keys are that class's own constructor arguments.

Each room of the house (`transforms`, `models`, ...) is a package; its classes enter with `@register("room", "name")`. A
new member is one new file in the room: the room's modules are imported when a kind is first looked up. Keys are checked
with pydantic against the constructor's annotations, so a wrong key or type is named before anything is computed.

Arguments that a recipe cannot know (the number of inputs of a network, the geometry) are annotated `Given[...]` and are
handed over when the object is built. An argument annotated `Part[...]` is itself a `kind: name` of another room; the
owner receives a `Factory`, which it calls with the arguments that it knows.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

T = TypeVar("T")

_ROOMS: dict[str, dict[str, Callable[..., Any]]] = {}
_FILLED: set[str] = set()
_PACKAGES = {
    "projections": "transforms",
    "velocities": "networks",
    "objectives": "models.objectives",
    "penalties": "models.penalties",
    "views": "models.views",
    "auxiliaries": "models.auxiliaries",
    "noise_sources": "models.noise_sources",
    "analyses": "validation.analyses",
}
"""Rooms whose modules live in a package of another name."""
ARGUMENTS = "Arguments"
"""Name of the models that constructors' arguments are checked with; their fields are called `x_` and the argument's name."""


class _Given:
    """Marks a constructor argument that the builder hands over."""


Given = Annotated[T, _Given()]


@dataclass(frozen=True)
class Part:
    """Annotates an argument that is a `kind: name` of `room`: `Annotated[Factory, Part("networks")]`."""

    room: str


@dataclass(frozen=True)
class Factory:
    """A checked `kind: name` with its arguments, waiting for those that only its owner knows."""

    room: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    def __call__(self, **given: Any) -> Any:
        """Build the object; `given` arguments that its constructor does not ask for, or that the recipe decides, are left out."""
        constructor = lookup(self.room, self.kind, self.where)
        asked = {n for n, p in inspect.signature(constructor).parameters.items() if p.kind is not p.VAR_KEYWORD}
        return constructor(**self.arguments, **{k: v for k, v in given.items() if k in asked and k not in self.arguments})

    def to_dict(self) -> dict[str, Any]:
        """The recipe's words for it, defaults included."""
        plain = {k: v.to_dict() if isinstance(v, Factory) else _plain(v) for k, v in self.arguments.items()}
        return {"kind": self.kind, **plain}


def _plain(value: Any) -> Any:
    if isinstance(value, Factory):
        return value.to_dict()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def register(room: str, kind: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Class decorator: enter the class as `kind` in `room`."""

    def enter(constructor: Callable[..., T]) -> Callable[..., T]:
        kinds = _ROOMS.setdefault(room, {})
        if kinds.get(kind, constructor) is not constructor:
            raise ValueError(f"{room} already has a kind {kind!r}")
        kinds[kind] = constructor
        return constructor

    return enter


def kinds(room: str) -> dict[str, Callable[..., Any]]:
    """All kinds of a room by name; imports the room's modules at first use."""
    if room not in _FILLED:
        package = importlib.import_module(f"understudy.{_PACKAGES.get(room, room)}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        _FILLED.add(room)
    return dict(sorted(_ROOMS.get(room, {}).items()))


def lookup(room: str, kind: str, where: str = "") -> Callable[..., Any]:
    """The class called `kind` in `room`; ValueError with the nearest name if there is none."""
    known = kinds(room)
    if kind not in known:
        raise ValueError(f"{where or room}: no kind {kind!r} in {room}{_nearest(kind, known)}; there are {', '.join(known)}")
    return known[kind]


def _nearest(word: str, words: Any) -> str:
    close = difflib.get_close_matches(str(word), list(words), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def factory(room: str, spec: Any, where: str = "") -> Factory:
    """Check what a recipe says of an object and return its Factory.

    Args:
        room: the package that the kind is looked up in.
        spec: a mapping with `kind` and the constructor's arguments, or just the kind.
        where: path of the specification inside the recipe, named in errors.

    Raises:
        ValueError: unknown kind or key, missing argument, or an argument of the wrong type or value.
    """
    if isinstance(spec, Factory):
        return spec
    if isinstance(spec, str):
        spec = {"kind": spec}
    if not isinstance(spec, Mapping) or "kind" not in spec:
        raise ValueError(
            f"{where or room}: expected a mapping with a 'kind' from {room} ({', '.join(kinds(room))}), found {spec!r}"
        )
    arguments = {k: v for k, v in spec.items() if k != "kind"}
    constructor = lookup(room, str(spec["kind"]), f"{where}.kind" if where else "")
    return Factory(room, str(spec["kind"]), check_arguments(constructor, arguments, where or str(spec["kind"])), where)


def check_arguments(constructor: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check `arguments` against the annotations of `constructor`, fill in defaults, and turn parts into factories."""
    fields: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    function = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(constructor).parameters.items():
        hint = hints.get(name, Any)
        marks = getattr(hint, "__metadata__", ())
        if any(isinstance(m, _Given) for m in marks) or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        part = next((m for m in marks if isinstance(m, Part)), None)
        if part is not None:
            parts[name] = (part, default)
        else:
            fields[name] = (hint, default)
    allowed = [*fields, *parts]
    if unknown := [k for k in arguments if k not in allowed]:
        raise ValueError(
            f"{where}: unknown key {unknown[0]!r}{_nearest(unknown[0], allowed)}; allowed: {', '.join(allowed) or 'none'}"
        )
    checked = validate(fields, {k: v for k, v in arguments.items() if k in fields}, where)
    for name, (part, default) in parts.items():
        value = arguments.get(name, default)
        if value is ...:
            raise ValueError(
                f"{where}: the key {name!r} is missing; give a kind from {part.room} ({', '.join(kinds(part.room))})"
            )
        checked[name] = _parts(part.room, value, f"{where}.{name}")
    return checked


def _parts(room: str, value: Any, where: str) -> Any:
    """A factory, a list of factories, or None, as the recipe gives it."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [factory(room, v, f"{where}[{i}]") for i, v in enumerate(value)]
    return factory(room, value, where)


def validate(fields: Mapping[str, Any], arguments: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check `arguments` with pydantic; `fields` maps names to (type, default)."""
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    model = create_model(ARGUMENTS, __config__=config, **{f"x_{k}": v for k, v in fields.items()})
    try:
        result = model(**{f"x_{k}": v for k, v in arguments.items()})
    except ValidationError as error:
        raise ValueError(explain(error, where, model)) from None
    return {k: getattr(result, f"x_{k}") for k in fields}


def explain(error: ValidationError, where: str, model: type[BaseModel] | None = None) -> str:
    """A pydantic error as one sentence that names the key and what was found.

    Args:
        error: what pydantic found; its first problem is told.
        where: what was read, to begin the sentence with.
        model: what it was checked against, to say which keys are allowed.
    """
    first = error.errors()[0]
    path = [str(p) for p in first["loc"]]
    allowed = _fields_at(model, path[:-1])
    if path and model is not None and model.__name__ == ARGUMENTS:
        path[0] = path[0].removeprefix("x_")
    place, inside = ".".join([where, *path]), ".".join([where, *path[:-1]])
    if first["type"] == "missing":
        return f"{inside}: {'entry' if path[-1].isdecimal() else 'the key'} {path[-1]!r} is missing"
    if first["type"] == "extra_forbidden":
        choice = f"{_nearest(path[-1], allowed)}; allowed: {', '.join(allowed)}" if allowed else "; leave it out"
        return f"{inside}: unknown key {path[-1]!r}{choice}"
    own = first.get("ctx", {}).get("error")
    if first["type"] == "value_error" and own is not None:  # the sentence of a check of our own
        return f"{place}: {own}"
    return f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}, found {_shortened(repr(first['input']))}"


def _fields_at(model: type[BaseModel] | None, path: list[str]) -> list[str]:
    """Names of the fields of the model that `path` leads to inside `model`; empty if it leads to none."""
    named = False  # whether the last step led to a mapping, whose next step is a name of the recipe's own
    for step in path:
        if step.isdecimal() or named:
            named = False
            continue
        if model is None or step not in model.model_fields:
            return []
        hint = model.model_fields[step].annotation
        model, named = _model_in(hint), typing.get_origin(hint) is dict
    return [] if model is None else list(model.model_fields)


def _model_in(hint: Any) -> type[BaseModel] | None:
    """The first model in an annotation such as `list[Model]` or `Model | None`."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint
    return next((found for part in typing.get_args(hint) if (found := _model_in(part))), None)


def _shortened(text: str, length: int = 80) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
