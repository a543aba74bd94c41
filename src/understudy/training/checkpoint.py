"""Checkpoints: all that training depends on, as `state.safetensors` and `state.json` in one folder.

A state is plain data (dictionaries, lists, numbers, words) with tensors anywhere in it. The tensors go into the
safetensors file, everything else into the JSON file, which also holds the sha256 of the first. The folder is swapped in as a
whole, so a process killed at any moment leaves the earlier or the new checkpoint. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from understudy.files import atomic_directory, recover_directory, sha256, write_json

FORMAT = 1
_TENSOR = "$tensor"


def save(directory: Path, state: Mapping[str, Any]) -> Path:
    """Write `state` as the checkpoint `directory`, in place of the one that is there.

    Raises:
        OSError: the disk is full or the folder cannot be written; the earlier checkpoint is still there.
    """
    tensors: dict[str, Tensor] = {}
    plain = _take_tensors(state, "state", tensors)
    with atomic_directory(directory) as folder:
        save_file(tensors, folder / "state.safetensors")
        write_json(folder / "state.json", {"format": FORMAT, "sha256": sha256(folder / "state.safetensors"), "state": plain})
    return directory


def load(directory: Path) -> dict[str, Any] | None:
    """The state saved in `directory`, tensors on the CPU; None if there is no checkpoint.

    Raises:
        ValueError: the checkpoint is damaged or of another format.
    """
    recover_directory(directory)
    if not directory.exists():
        return None
    advice = "remove the folder to train from the beginning, or put a copy of it in its place"
    try:
        words = json.loads((directory / "state.json").read_text(encoding="utf-8"))
        if words["format"] != FORMAT:
            raise ValueError(f"its format is {words['format']}, not {FORMAT}")
        if sha256(directory / "state.safetensors") != words["sha256"]:
            raise ValueError("state.safetensors does not have the checksum that state.json names")
        restored: dict[str, Any] = _put_tensors(words["state"], load_file(directory / "state.safetensors"))
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise ValueError(f"the checkpoint {directory} is damaged ({_sentence(error)}); {advice}") from error
    return restored


def _sentence(error: Exception) -> str:
    return f"{Path(error.filename).name} is missing" if isinstance(error, FileNotFoundError) else str(error)


def _take_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """`value` with every tensor replaced by its name in `tensors`, where a copy is put."""
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: path}
    if isinstance(value, Mapping):
        return {str(k): _take_tensors(v, f"{path}/{k}", tensors) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_take_tensors(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _put_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_take_tensors`; tuples come back as lists."""
    if isinstance(value, dict):
        return tensors[value[_TENSOR]] if _TENSOR in value else {k: _put_tensors(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_put_tensors(v, tensors) for v in value]
    return value


def plain(value: Any) -> Any:
    """`value` as it comes back from JSON."""
    return json.loads(json.dumps(value))
