"""Packages that only some uses need: imported when they are, with the extra named where they are missing."""

from __future__ import annotations

import importlib
from typing import Any


def extra(module: str, name: str, purpose: str) -> Any:
    """Import `module`, which the extra `name` installs.

    Args:
        module: dotted name.
        name: of the extra.
        purpose: what needs it, the beginning of the error's sentence.

    Raises:
        ModuleNotFoundError: it is not installed; the sentence says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition(".")[0]
        raise ModuleNotFoundError(
            f"{purpose} needs the package {package}; install it with: pip install 'understudy[{name}]'", name=package
        ) from None
