"""What a person at a terminal sees: steps with their progress, the table of a training, summaries, and what was written.

Progress goes to standard error and results to standard output, so that results can be piped. Where standard error is no
terminal (a batch job's log), a line every ten seconds takes the place of bars and live tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

QUIET_SECONDS = 10.0
"""Time between two lines where there is no terminal."""


class Console:
    """Standard output for results and standard error for progress.

    Args:
        quiet: show nothing at all.
        progress: where progress goes in place of standard error.
        results: where results go in place of standard output.
    """

    def __init__(self, quiet: bool = False, progress: RichConsole | None = None, results: RichConsole | None = None) -> None:
        self.err = progress or RichConsole(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        self.out = results or RichConsole(highlight=False, quiet=quiet)

    @contextmanager
    def step(self, description: str) -> Iterator[Step]:
        """Show that something is being done and, if it calls `advance(done, total)`, how far it is; then how long it took."""
        started = time.monotonic()
        with Step(description, self.err) as step:
            yield step
        self.err.print(f"[green]done[/]  {escape(description)} [dim]({duration(time.monotonic() - started)})[/]")

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Show at a terminal that libraries are being loaded, which takes seconds the first time."""
        if not self.err.is_terminal or self.err.quiet:
            yield
            return
        with self.err.status("Loading"):
            yield

    @contextmanager
    def training(self, title: str) -> Iterator[TrainingTable]:
        """A live table of a training; give it to `train` as its `watch`."""
        started = time.monotonic()
        with TrainingTable(title, self.err) as table:
            yield table
        self.err.print(f"[green]done[/]  {escape(f'Training {title}')} [dim]({duration(time.monotonic() - started)})[/]")

    def summary(self, rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
        """Print rows of equal keys as a table; numbers are set to the right."""
        table = Table(title=escape(title) or None, title_justify="left", title_style="bold")
        names = list(dict.fromkeys(name for row in rows for name in row))
        for name in names:
            numbers = all(isinstance(row.get(name), int | float | None) for row in rows)
            table.add_column(escape(name), justify="right" if numbers else "left", overflow="fold", no_wrap=numbers)
        for row in rows:
            table.add_row(*(escape(number(row.get(name))) for name in names))
        self.out.print(table)

    def wrote(self, path: str | Path, what: str) -> None:
        """Say what was written, where, and how large it is."""
        path = Path(path)
        files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
        bytes_written = sum(f.stat().st_size for f in files if f.exists())
        self.out.print(f"wrote {escape(what)}: {escape(str(path))} [dim]({size(bytes_written)})[/]", soft_wrap=True)

    def warn(self, message: str) -> None:
        """Print a warning."""
        self.err.print(f"[yellow]warning:[/] {escape(message)}")


class Step:
    """Something that is being done; see `Console.step`."""

    def __init__(self, description: str, console: RichConsole) -> None:
        self.description = description
        self.lines = Lines(console)
        self._bar = bar(console) if console.is_terminal and not console.quiet else None
        self._task = self._bar.add_task(escape(description), total=None) if self._bar else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        else:
            self.lines.start(self.description)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, done: float, total: float) -> None:
        """`done` of `total` are done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
        else:
            self.lines.tell(self.description, done, total)


class Lines:
    """A line now and then, for logs."""

    def __init__(self, console: RichConsole) -> None:
        self.console = console
        self._began = self._told = time.monotonic()
        self._first: float | None = None

    def start(self, text: str) -> None:
        """Say that something begins."""
        self._began = self._told = time.monotonic()
        self.console.print(escape(text))

    def tell(self, text: str, done: float, total: float) -> None:
        """Say how far it is and how long it will still take, unless that was said in the last ten seconds."""
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._told < QUIET_SECONDS or not total:
            return
        self._told, made = now, done - self._first
        left = f", {duration((now - self._began) * (total - done) / made)} left" if made > 0 else ""
        count = f" ({number(done)} of {number(total)})" if total > 1 else ""
        self.console.print(f"{escape(text)}: {done / total:.0%}{count}{left}")


class TrainingTable:
    """A live table of losses and of the physics score, with the best row marked and the time that is left.

    It looks on at a training (`understudy.training.history.Watch`).

    Args:
        title: names the training.
        console: where it is shown.
        rows: evaluations shown, the newest last.
        parts: numbers shown of each score besides `score` itself.
    """

    def __init__(self, title: str, console: RichConsole, rows: int = 8, parts: int = 3) -> None:
        self.title, self.console, self.shown, self.parts = title, console, rows, parts
        self.rows: list[Mapping[str, Any]] = []
        self.rounds = 0
        self.latest: Mapping[str, float] = {}
        self.epoch = 0.0
        self.lines, self.before = Lines(console), Lines(console)
        self._live: Live | None = None
        self._bar = bar(console)
        self._task = self._bar.add_task(escape(title), total=None)
        if console.is_terminal and not console.quiet:
            self._live = Live(get_renderable=self.render, console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        else:
            self.lines.start(f"Training {self.title}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def fitting(self, part: float) -> None:
        """`part` of the fit of the transforms, before the training, is done."""
        words = f"{self.title}, fitting transforms"
        self._bar.update(self._task, description=escape(words), completed=part, total=1.0)
        if self._live is None:
            self.before.tell(words, part, 1.0)

    def begin(self, rounds: int, done: int) -> None:
        """The training has `rounds` rounds, of which `done` were played before."""
        self.rounds = rounds
        self._bar.reset(self._task, total=max(rounds, 1), completed=done, description=escape(self.title))

    def losses(self, done: int, epoch: float, losses: Mapping[str, float]) -> None:
        """Mean losses by turn since the last call, after `done` rounds."""
        self.latest, self.epoch = losses, epoch
        self._bar.update(self._task, completed=done)
        if self._live is None:
            words = ", ".join(f"{name} loss {number(value)}" for name, value in losses.items())
            self.lines.tell(f"{self.title}, epoch {epoch:.1f}, {words}", done, self.rounds)

    def row(self, row: Mapping[str, Any]) -> None:
        """A new row of the history."""
        self.rows.append(row)
        if self.rounds == 0:
            self._bar.update(self._task, completed=1)

    def render(self) -> Group:
        """Table and progress bar as they stand."""
        losses = list(dict.fromkeys(name for row in [*self.rows, {"losses": self.latest}] for name in row["losses"]))
        scores = list(dict.fromkeys(name for row in self.rows for name in row["score"] or ()))
        scores = [n for n in scores if n == "score"] + [n for n in scores if n != "score"][: self.parts]
        table = Table(title=escape(self.title), title_justify="left", title_style="bold")
        for name in ("epoch", *(f"{name} loss" for name in losses), *scores, ""):
            table.add_column(escape(name), justify="right")
        best = next((row for row in reversed(self.rows) if row["best"]), None)
        for row in self.rows[-self.shown :]:
            given = [(row["losses"], losses), (row["score"] or {}, scores)]
            cells = [number(values.get(name)) for values, names in given for name in names]
            table.add_row(f"{row['epoch']:.0f}", *cells, "[green]best[/]" if row is best else "")
        if self.latest:
            now = [number(self.latest.get(name)) for name in losses]
            table.add_row(f"{self.epoch:.1f}", *now, *[""] * len(scores), "now", style="dim")
        return Group(table, self._bar)


def bar(console: RichConsole) -> Progress:
    """A progress bar with the time passed and left."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("[dim]left[/]"), TimeRemainingColumn(), console=console, transient=True)


def number(value: Any) -> str:
    """A number with four digits (without an exponent up to a billion), nothing for None, and anything else as it is."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or 1e3 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """Seconds as `1.2 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Bytes as `12.3 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
