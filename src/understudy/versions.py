"""What a result was made with: versions and hardware, for manifests and reports."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("understudy", "numpy", "scipy", "scikit-learn", "torch", "onnx", "onnxruntime", "h5py", "geant4-pybind")
"""Packages whose versions are recorded where they are installed."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, by name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware() -> str:
    """The processor and its number of cores, in a few words."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0] if lines else model
    return f"{model}, {os.cpu_count()} cores"
