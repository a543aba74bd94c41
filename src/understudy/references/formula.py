r"""Formulae of Delphes cards: ROOT's TFormula syntax, parsed here and evaluated with numpy; nothing is handed to `eval`.

A formula is a number for each particle, made of the variables that Delphes knows (`pt`, `eta`, `phi`, `energy`, in GeV and rad,
and `d0`, `dz`, `ctgTheta`), numbers, `+ - * / % ^`, comparisons and `&& || !` (which are 1 or 0, so that a region is a factor),
`condition ? a : b`, and functions, also by their names in ROOT (`TMath::Sqrt`). As in ROOT, `^` is the power, binds closer than
a sign and to the right: $-x^{y^z}$. White space and the backslashes of continued lines count for nothing.

The grammar, the loosest first: `choice`, `or`, `and`, `comparison`, `sum`, `product`, `sign`, `power`, `atom`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.schema import Array

VARIABLES = ("pt", "eta", "phi", "energy", "d0", "dz", "ctgTheta")
"""What a formula may depend on."""
DEEPEST = 50
"""Parentheses inside each other at most."""

_Node = Callable[[Mapping[str, Any]], Any]

_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    **dict.fromkeys(("abs", "fabs", "TMath::Abs"), (1, np.abs)),
    **dict.fromkeys(("sqrt", "TMath::Sqrt"), (1, np.sqrt)),
    **dict.fromkeys(("exp", "TMath::Exp"), (1, np.exp)),
    **dict.fromkeys(("log", "TMath::Log"), (1, np.log)),
    **dict.fromkeys(("log10", "TMath::Log10"), (1, np.log10)),
    **dict.fromkeys(("pow", "TMath::Power"), (2, np.power)),
    **dict.fromkeys(("min", "TMath::Min"), (2, np.minimum)),
    **dict.fromkeys(("max", "TMath::Max"), (2, np.maximum)),
    **dict.fromkeys(("atan2", "TMath::ATan2"), (2, np.arctan2)),
    **dict.fromkeys(("int",), (1, np.trunc)),
    **dict.fromkeys(("floor", "TMath::Floor"), (1, np.floor)),
    **dict.fromkeys(("ceil", "TMath::Ceil"), (1, np.ceil)),
}
for _short, _root, _function in (
    ("sin", "Sin", np.sin),
    ("cos", "Cos", np.cos),
    ("tan", "Tan", np.tan),
    ("asin", "ASin", np.arcsin),
    ("acos", "ACos", np.arccos),
    ("atan", "ATan", np.arctan),
    ("sinh", "SinH", np.sinh),
    ("cosh", "CosH", np.cosh),
    ("tanh", "TanH", np.tanh),
):
    _FUNCTIONS[_short] = _FUNCTIONS[f"TMath::{_root}"] = (1, _function)
_CONSTANTS = {"pi": np.pi, "TMath::Pi": np.pi, "TMath::E": np.e}

_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*(?:::\w+)*)"
    r"|(?P<sign>&&|\|\||<=|>=|==|!=|[-+*/%^()<>!?:,])|(?P<space>[\s\\]+)"
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "<": np.less,
    ">": np.greater,
    "==": np.equal,
    "!=": np.not_equal,
}
_SUM: dict[str, Callable[[Any, Any], Any]] = {"+": np.add, "-": np.subtract}
_PRODUCT: dict[str, Callable[[Any, Any], Any]] = {"*": np.multiply, "/": np.true_divide, "%": np.fmod}


@dataclass(frozen=True)
class Formula:
    """A formula that has been read.

    Args:
        text: as the card says it.
        variables: those that it depends on.
        where: the module and the card, named in errors.
    """

    text: str
    variables: frozenset[str]
    where: str
    _value: _Node

    @classmethod
    def parse(cls, text: str, where: str = "formula") -> Formula:
        """Read a formula; ValueError, in one sentence, if it is none or names what is not known."""
        parser = _Parser(text, where)
        value = parser.whole()
        return cls(" ".join(text.replace("\\", " ").split()), frozenset(parser.seen), where, value)

    def __call__(self, **values: Any) -> Array:
        """The value for each particle, float64 `(n,)`.

        Args:
            **values: arrays `(n,)` of the variables: `pt`, `energy` in GeV, `phi` in rad.

        Raises:
            ValueError: a variable that it needs is not given, or the value is not a finite number.
        """
        if missing := sorted(self.variables - set(values)):
            raise ValueError(f"{self.where}: the formula depends on {', '.join(missing)}, which is not known here")
        n = max((np.size(v) for v in values.values()), default=1)
        with np.errstate(all="ignore"):
            found = np.broadcast_to(np.asarray(self._value(values), np.float64), (n,))
        if not np.isfinite(found).all():
            first = int(np.flatnonzero(~np.isfinite(found))[0])
            place = ", ".join(f"{k} = {np.broadcast_to(v, (n,))[first]:g}" for k, v in values.items() if k in self.variables)
            raise ValueError(
                f"{self.where}: the formula {_shortened(self.text)} divides by zero or has no finite value at"
                f" {place or 'every point'}; mend the card or leave such particles out"
            )
        return found


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


class _Parser:
    """Recursive descent; every method reads one level of the grammar and returns what evaluates it."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self.tokens: list[tuple[str, str]] = []
        self.seen: set[str] = set()
        self.at, self.depth, start = 0, 0, 0
        while start < len(text):
            match = _TOKEN.match(text, start)
            if match is None:
                raise self.error(f"has the character {text[start]!r}, which means nothing in a formula")
            start = match.end()
            if match.lastgroup != "space":
                self.tokens.append((str(match.lastgroup), match.group()))

    def error(self, what: str) -> ValueError:
        """The sentence about what is wrong."""
        return ValueError(f"{self.where}: the formula {_shortened(' '.join(self.text.split()))} {what}; mend the card")

    def next_is(self, *signs: str) -> str | None:
        """The next token if it is one of `signs`, which is then taken."""
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "sign" and self.tokens[self.at][1] in signs:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def whole(self) -> _Node:
        if not self.tokens:
            raise self.error("is empty")
        found = self.choice()
        if self.at < len(self.tokens):
            raise self.error(f"goes on with {self.tokens[self.at][1]!r} where it should end")
        return found

    def choice(self) -> _Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error(f"has more than {DEEPEST} parentheses or choices inside each other")
        found = self._choice()
        self.depth -= 1
        return found

    def _choice(self) -> _Node:
        condition = self.disjunction()
        if not self.next_is("?"):
            return condition
        yes = self.choice()
        if not self.next_is(":"):
            raise self.error("has a '?' without its ':'")
        no = self.choice()
        return lambda v: np.where(np.not_equal(condition(v), 0), yes(v), no(v))

    def disjunction(self) -> _Node:
        return self._chain(self.conjunction, {"||": np.logical_or})

    def conjunction(self) -> _Node:
        return self._chain(self.comparison, {"&&": np.logical_and})

    def comparison(self) -> _Node:
        return self._chain(self.sum, _COMPARE)

    def sum(self) -> _Node:
        return self._chain(self.product, _SUM, numbers=True)

    def product(self) -> _Node:
        return self._chain(self.sign, _PRODUCT, numbers=True)

    def _chain(
        self, operand: Callable[[], _Node], signs: Mapping[str, Callable[[Any, Any], Any]], numbers: bool = False
    ) -> _Node:
        """Operands joined from the left; `numbers` takes truth values for 1 and 0."""
        first, others = operand(), list[tuple[Callable[[Any, Any], Any], _Node]]()
        while (sign := self.next_is(*signs)) is not None:
            others.append((signs[sign], operand()))
        return _joined(first, others, numbers) if others else first

    def sign(self) -> _Node:
        if sign := self.next_is("-", "+", "!"):
            self.depth += 1
            if self.depth > DEEPEST:
                raise self.error(f"has more than {DEEPEST} signs one after the other")
            value = self.sign()
            self.depth -= 1
            if sign == "!":
                return lambda v: np.equal(value(v), 0)
            return (lambda v: -_number(value(v))) if sign == "-" else value
        return self.power()

    def power(self) -> _Node:
        base = self.atom()
        if not self.next_is("^"):
            return base
        exponent = self.sign()  # binds to the right
        return lambda v: np.power(_number(base(v)), _number(exponent(v)))

    def atom(self) -> _Node:
        if self.next_is("("):
            found = self.choice()
            if not self.next_is(")"):
                raise self.error("has a '(' without its ')'")
            return found
        if self.at >= len(self.tokens):
            raise self.error("ends where a number is expected")
        kind, word = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            number = np.float64(word)
            return lambda v: number
        if kind == "name":
            return self._name(word)
        raise self.error(f"has {word!r} where a number is expected")

    def _name(self, word: str) -> _Node:
        if word in _FUNCTIONS and self.next_is("("):
            return self._call(word)
        if word in _CONSTANTS:
            if self.next_is("(") and not self.next_is(")"):
                raise self.error(f"gives arguments to {word}, which has none")
            constant = np.float64(_CONSTANTS[word])
            return lambda v: constant
        if word not in VARIABLES:
            known = "a function without its arguments" if word in _FUNCTIONS else "not known"
            raise self.error(f"names {word!r}, which is {known}; a formula may depend on {', '.join(VARIABLES)}")
        self.seen.add(word)
        return lambda v: v[word]

    def _call(self, word: str) -> _Node:
        arguments = [self.choice()]
        while self.next_is(","):
            arguments.append(self.choice())
        if not self.next_is(")"):
            raise self.error(f"has '{word}(' without its ')'")
        number, function = _FUNCTIONS[word]
        if len(arguments) != number:
            raise self.error(f"gives {len(arguments)} arguments to {word}, which has {number}")
        return lambda v: function(*(_number(a(v)) for a in arguments))


def _joined(first: _Node, others: Sequence[tuple[Callable[[Any, Any], Any], _Node]], numbers: bool) -> _Node:
    """Operands joined from the left."""

    def value(v: Mapping[str, Any]) -> Any:
        found = first(v)
        for function, operand in others:
            right = operand(v)
            found = function(_number(found), _number(right)) if numbers else function(found, right)
        return found

    return value


def _number(value: Any) -> Any:
    """Truth values as 1 and 0."""
    return value.astype(np.float64) if getattr(value, "dtype", None) == np.bool_ else value
