"""The shipped search spaces: one YAML file each, read without importing anything heavy."""

from __future__ import annotations

from pathlib import Path


def shipped() -> dict[str, Path]:
    """The search spaces that come with the package, by name."""
    return {p.stem: p for p in sorted(Path(__file__).parent.glob("*.yaml"))}
