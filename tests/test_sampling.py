from __future__ import annotations

import numpy as np
import pytest

from understudy import sampling, storage
from understudy.files import sha256


@pytest.fixture(scope="module")
def asked(events):
    return events[:25]


def test_the_number_of_workers_does_not_matter(bundle, asked, tmp_path):
    one = sampling.sample_to_file(bundle, asked, tmp_path / "one.h5", seed=3, chunk=10)
    two = sampling.sample_to_file(bundle, asked, tmp_path / "two.h5", seed=3, chunk=10, workers=2)
    assert sha256(one) == sha256(two)
    assert not list(tmp_path.glob(".*"))
    assert len(storage.read(one)) == 25


def test_an_interrupted_generation_goes_on_and_ends_the_same(bundle, asked, tmp_path, monkeypatch):
    whole = sampling.sample_to_file(bundle, asked, tmp_path / "whole.h5", seed=3, chunk=10)
    done = []
    original = sampling._one

    def stops_after_two(task):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(task[0])
        return original(task)

    monkeypatch.setattr(sampling, "_one", stops_after_two)
    with pytest.raises(KeyboardInterrupt):
        sampling.sample_to_file(bundle, asked, tmp_path / "torn.h5", seed=3, chunk=10)
    assert not (tmp_path / "torn.h5").exists()
    monkeypatch.setattr(sampling, "_one", lambda task: done.append(task[0]) or original(task))
    seen = []
    torn = sampling.sample_to_file(bundle, asked, tmp_path / "torn.h5", seed=3, chunk=10, progress=seen.append)
    assert done == [0, 1, 2]
    assert seen == [25]
    assert sha256(torn) == sha256(whole)


def test_chunks_of_another_attempt_are_not_mixed_in(bundle, asked, tmp_path, monkeypatch):
    expected = sampling.sample_to_file(bundle, asked, tmp_path / "expected.h5", seed=4, chunk=10)
    monkeypatch.setattr(sampling.storage, "writer", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        sampling.sample_to_file(bundle, asked, tmp_path / "out.h5", seed=3, chunk=10)
    monkeypatch.undo()
    out = sampling.sample_to_file(bundle, asked, tmp_path / "out.h5", seed=4, chunk=10)
    assert sha256(out) == sha256(expected)


def test_another_seed_gives_other_showers(bundle, asked, tmp_path):
    one = storage.read(sampling.sample_to_file(bundle, asked, tmp_path / "one.h5", seed=3, chunk=10))
    two = storage.read(sampling.sample_to_file(bundle, asked, tmp_path / "two.h5", seed=4, chunk=10))
    np.testing.assert_array_equal(one["incident_energy"], two["incident_energy"])
    assert not np.array_equal(one["showers"], two["showers"])


def test_nonsense_is_refused(bundle, asked, tmp_path):
    with pytest.raises(ValueError, match="zero events were asked for"):
        sampling.sample_to_file(bundle, asked[:0], tmp_path / "none.h5")
    with pytest.raises(ValueError, match="must be at least 1"):
        sampling.sample_to_file(bundle, asked, tmp_path / "none.h5", workers=0)
    assert not list(tmp_path.iterdir())
