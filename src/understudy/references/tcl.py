"""Delphes cards: the part of Tcl that they are written in.

Commands end with a line or a semicolon; words are bare, "quoted" or {braced}; a backslash continues a line; `#` begins a comment
where a command could begin; `$name` and `${name}` stand for values outside braces. Understood are `set` and `add` (to a list),
`module CLASS NAME BODY` and `source FILE`; `[expr {...}]` is computed where it holds numbers alone. Loops, which cards use for
the edges of towers, and whatever else there is are passed over.

A module's body is read when it is asked for: what the others hold, or source, does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from understudy.references.formula import Formula

MOST_FILES = 200
"""Files that a card may be made of."""
_NAME = re.compile(r"\$(?:\{([^}]*)\}|([A-Za-z_]\w*))")
_EXPRESSION = re.compile(r"\[\s*expr\s+\{?([^\[\]{}]*)\}?\s*\]")


@dataclass(frozen=True)
class Word:
    """A word of a command; what is braced is taken as it is."""

    text: str
    braced: bool = False


@dataclass
class Values:
    """What `set` and `add` leave behind: the last value of a name, and the words of every `add`."""

    set: dict[str, str] = field(default_factory=dict)
    added: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Module:
    """`module KIND NAME BODY`, not read yet."""

    kind: str
    name: str
    body: str = field(repr=False)
    file: Path = field(repr=False)


@dataclass(frozen=True)
class Script:
    """A card that has been read.

    Args:
        path: the card.
        values: of the top level.
        modules: by name, in the order in which the card defines them.
    """

    path: Path
    values: Values
    modules: dict[str, Module]

    def read(self, module: Module) -> Values:
        """What a module's body sets; errors as of `read_card`."""
        inside = Values(dict(self.values.set), {})
        _run(_commands(module.body, f"{module.file}: module {module.name}"), inside, {}, _Files(self.path, [module.file]))
        return inside


def read_card(path: str | Path) -> Script:
    """Read a card and what it sources.

    Raises:
        FileNotFoundError: the card, or a file that it sources, is not there.
        ValueError: braces or quotes that are not closed, or files that source each other in a circle.
    """
    path = Path(path)
    values, modules = Values(), dict[str, Module]()
    files = _Files(path, [])
    _run(files.opened(path, "the Delphes card"), values, modules, files)
    return Script(path, values, modules)


@dataclass
class _Files:
    """Files that are being read, the innermost last."""

    card: Path
    open: list[Path]
    count: int = 0

    def find(self, name: str) -> Path:
        """A sourced file, beside the card or beside the file that names it; FileNotFoundError."""
        here = self.open[-1] if self.open else self.card
        for folder in (self.card.parent, here.parent):
            if (folder / name).is_file():
                return folder / name
        raise FileNotFoundError(f"{here} sources {name}, which is not in {self.card.parent}; copy it there")

    def opened(self, path: Path, what: str) -> Iterator[list[Word]]:
        """The commands of a file."""
        if not path.is_file():
            raise FileNotFoundError(f"{path}, {what}, is not there; check the path")
        if path.resolve() in [p.resolve() for p in self.open]:
            raise ValueError(f"{self.open[-1]} sources {path.name}, which leads back to itself; take one 'source' out")
        self.count += 1
        if self.count > MOST_FILES:
            raise ValueError(f"{self.card} sources more than {MOST_FILES} files; take some out")
        self.open.append(path)
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path} is no text file; give a Delphes card") from None
        yield from _commands(text, str(path))
        self.open.pop()


def _run(commands: Iterator[list[Word]], values: Values, modules: dict[str, Module], files: _Files) -> None:
    """Carry out commands one after the other."""
    for first, *rest in commands:
        words = [w.text if w.braced else _substituted(w.text, values.set) for w in rest]
        if first.text == "set" and len(words) == 2:
            values.set[words[0]] = words[1]
        elif first.text == "add" and len(words) >= 2:
            values.added.setdefault(words[0], []).append(tuple(words[1:]))
        elif first.text == "module" and len(words) == 3:
            modules[words[1]] = Module(words[0], words[1], words[2], files.open[-1])
        elif first.text == "source" and len(words) == 1:
            _run(files.opened(files.find(words[0]), "a sourced file"), values, modules, files)


def _substituted(text: str, known: dict[str, str]) -> str:
    """`text` with the values of names that are known, and sums of numbers computed."""
    text = _NAME.sub(lambda m: known.get(m[1] or m[2], m[0]), text)

    def computed(match: re.Match[str]) -> str:
        inner = _NAME.sub(lambda m: known.get(m[1] or m[2], m[0]), match[1])
        try:
            return repr(float(Formula.parse(inner, "expr")()[0]))
        except ValueError:
            return match[0]

    return _EXPRESSION.sub(computed, text)


def _commands(text: str, where: str) -> Iterator[list[Word]]:
    """The commands of a text, as words; ValueError where a brace or a quote is not closed."""
    at, words = 0, list[Word]()
    while at < len(text):
        char = text[at]
        if char == "\\" and text[at + 1 : at + 2] in ("\n", "\r"):
            at += 2
        elif char in "\n;":
            if words:
                yield words
            words, at = [], at + 1
        elif char.isspace():
            at += 1
        elif char == "#" and not words:
            at = _end_of_comment(text, at)
        elif char == "{":
            end = _closing(text, at, where)
            words.append(Word(text[at + 1 : end], True))
            at = end + 1
        elif char == '"':
            end = text.find('"', at + 1)
            if end < 0:
                raise ValueError(f"{where}, line {_line(text, at)}: a quote is not closed; add the missing one")
            words.append(Word(text[at + 1 : end]))
            at = end + 1
        elif char == "}":
            raise ValueError(f"{where}, line {_line(text, at)}: a closing brace too many; the braces do not match")
        else:
            end = _end_of_bare(text, at, where)
            words.append(Word(text[at:end]))
            at = end
    if words:
        yield words


def _end_of_comment(text: str, at: int) -> int:
    """Where the comment at `at` ends; a backslash at the end of a line continues it."""
    while True:
        end = text.find("\n", at)
        if end < 0:
            return len(text)
        if not text[:end].endswith("\\"):
            return end
        at = end + 1


def _closing(text: str, at: int, where: str) -> int:
    """Where the brace at `at` is closed."""
    depth, i = 0, at
    while i < len(text):
        if text[i] == "\\":
            i += 1
        elif text[i] == "{":
            depth += 1
        elif text[i] == "}":
            depth -= 1
            if depth == 0:
                return i
        i += 1
    raise ValueError(f"{where}, line {_line(text, at)}: a brace is opened that nothing closes; the braces do not match")


def _end_of_bare(text: str, at: int, where: str) -> int:
    """Where the bare word at `at` ends; `[...]` belongs to it, spaces and all."""
    brackets, i = 0, at
    while i < len(text):
        char = text[i]
        if char == "[":
            brackets += 1
        elif char == "]":
            brackets -= 1
        elif char == "{" and brackets:
            i = _closing(text, i, where)
        elif brackets <= 0 and (char.isspace() or char in ";{}"):
            break
        i += 1
    return max(i, at + 1)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def names_in(text: str) -> Sequence[str]:
    """The words of a braced list, comments left out."""
    return [word.text for words in _commands(text, "list") for word in words]
