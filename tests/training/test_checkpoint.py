import json

import pytest
import torch

from understudy.training.checkpoint import load, save

STATE = {
    "words": {"a": 1, "b": [1.5, None, True, "x"]},
    "weights": {"w.0": torch.arange(6.0).reshape(2, 3).T, "flag": torch.tensor(True), "none": torch.zeros(0, 4)},
    "list": [torch.tensor(3, dtype=torch.int64), torch.ones(2, dtype=torch.bfloat16)],
}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_round_trip(tmp_path):
    save(tmp_path / "last", STATE)
    assert same(load(tmp_path / "last"), STATE)
    assert {f.name for f in (tmp_path / "last").iterdir()} == {"state.safetensors", "state.json"}


def test_tensors_of_one_memory_are_both_saved(tmp_path):
    weight = torch.ones(3)
    save(tmp_path / "last", {"a": weight, "b": weight})
    assert same(load(tmp_path / "last"), {"a": weight, "b": weight})


def test_no_checkpoint(tmp_path):
    assert load(tmp_path / "last") is None


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda d: (d / "state.safetensors").write_bytes((d / "state.safetensors").read_bytes()[:-3]),
            "does not have the checksum",
        ),
        (lambda d: (d / "state.safetensors").unlink(), "state.safetensors is missing"),
        (lambda d: (d / "state.json").unlink(), "state.json is missing"),
        (lambda d: (d / "state.json").write_text((d / "state.json").read_text()[:50]), "damaged"),
        (lambda d: (d / "state.json").write_text(json.dumps({"format": 99})), "its format is 99, not 1"),
        (lambda d: (d / "state.json").write_bytes(b"\xff\xfe"), "damaged"),
    ],
)
def test_damaged(tmp_path, harm, message):
    harm(save(tmp_path / "last", STATE))
    with pytest.raises(ValueError, match=f"{message}.*remove the folder to train from the beginning"):
        load(tmp_path / "last")


@pytest.mark.parametrize("call", ["save_file", "write_json"])
def test_a_failed_write_leaves_the_earlier_one(tmp_path, monkeypatch, call):
    save(tmp_path / "last", STATE)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"understudy.training.checkpoint.{call}", full)
    with pytest.raises(OSError, match="the disk is full"):
        save(tmp_path / "last", {"a": 1})
    assert same(load(tmp_path / "last"), STATE)
    assert [f.name for f in tmp_path.iterdir()] == ["last"]


def test_killed_between_the_renames(tmp_path):
    save(tmp_path / "last", STATE)
    (tmp_path / "last").rename(tmp_path / ".last.old")
    assert same(load(tmp_path / "last"), STATE)
