"""The shipped recipes: one YAML file each, read without importing anything heavy."""

from __future__ import annotations

from pathlib import Path

import yaml


def shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    return {p.stem: p for p in sorted(Path(__file__).parent.glob("*.yaml"))}


def titles() -> dict[str, str]:
    """Each shipped recipe's title by name."""
    return {name: str(yaml.safe_load(path.read_text(encoding="utf-8")).get("title", "")) for name, path in shipped().items()}
