"""How the command line says what went wrong: one sentence on standard error, never a traceback."""

from __future__ import annotations

import sys
from typing import Any

from typer.core import TyperGroup

GO_ON = {
    "run": "; give the same command with --resume to continue",
    "scan": "; give the same command with --resume to continue",
    "search": "; give the same command with --resume to continue",
    "train": "; give the same command with --resume to continue",
    "sample": "; give the same command again to continue",
}
"""What to do after an interruption, by command."""


class CommandInterruptedError(Exception):
    """Ctrl-C during a command."""


class Commands(TyperGroup):
    """Keeps what an interrupted command has to say; typer itself would end without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise CommandInterruptedError(str(stop) or f"interrupted{GO_ON.get(ctx.invoked_subcommand or '', '')}") from None


def sentence(error: Exception) -> str:
    """What went wrong, in one line."""
    if hasattr(error, "format_message"):  # click's own: a wrong option or argument
        return str(error.format_message())
    told = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(str(told).split())
    if isinstance(error, OSError) and error.strerror and error.filename and text.startswith("[Errno"):
        return f"cannot use {error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    if isinstance(error, MemoryError):
        return f"not enough memory ({text or 'no details'}); use fewer events or a smaller --chunk"
    known = isinstance(error, ValueError | OSError | RuntimeError | ImportError | ArithmeticError | LookupError)
    return text if known and " " in text else f"{type(error).__name__}: {text} (set UNDERSTUDY_TRACEBACK=1 for the details)"


def fail(message: str, status: int) -> None:
    """Print the sentence and end with a status."""
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False)
    sys.exit(status)


def show_warning(message: Any, category: Any, *_: Any) -> None:
    """Print a warning as one sentence; those that are for programmers are left out."""
    from rich.console import Console
    from rich.markup import escape

    if issubclass(category, DeprecationWarning | FutureWarning | PendingDeprecationWarning):
        return
    Console(stderr=True, soft_wrap=True).print(f"[yellow]warning:[/] {escape(' '.join(str(message).split()))}", highlight=False)
