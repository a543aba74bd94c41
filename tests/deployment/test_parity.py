from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from understudy.deployment.parity import ParityError, check_parity
from understudy.deployment.runtime import Session
from understudy.deployment.timing import measure_timing


def test_the_exported_graph_agrees(surrogate, bundle, events):
    parity = check_parity(surrogate, Session(bundle / "surrogate.onnx"), events, np.random.default_rng(0))
    assert parity.events == len(events)
    assert parity.largest_difference <= 1e-5


def test_a_graph_with_a_weight_off_by_a_thousandth_is_found_out(surrogate, bundle, events, tmp_path):
    model = onnx.load(bundle / "surrogate.onnx")
    largest = max(model.graph.initializer, key=lambda t: np.prod(t.dims))
    values = numpy_helper.to_array(largest) * 1.001
    largest.CopyFrom(numpy_helper.from_array(values.astype(np.float32), largest.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    with pytest.raises(ParityError, match="differs from torch"):
        check_parity(surrogate, Session(tmp_path / "wrong.onnx"), events, np.random.default_rng(0))


def test_other_thresholds_are_no_rounding(surrogate, bundle, events, monkeypatch):
    session = Session(bundle / "surrogate.onnx")

    def without_thresholds(noise, conditions):
        _, unprojected = Session.run(session, noise, conditions)
        return unprojected, unprojected

    monkeypatch.setattr(session, "run", without_thresholds)
    with pytest.raises(ParityError, match="projects its response otherwise"):
        check_parity(surrogate, session, events, np.random.default_rng(0))


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="is not a usable ONNX graph"):
        Session(tmp_path / "no.onnx")


def test_timing_has_both_engines_at_every_batch(surrogate, bundle, events):
    timing = measure_timing(surrogate, bundle / "surrogate.onnx", events.conditions, batches=(1, 50), budget_s=0.05)
    assert timing["threads"] == 1
    assert set(timing["torch"]) == set(timing["onnx"]) == {"1", "50"}
    assert all(ms > 0 for engine in ("torch", "onnx") for ms in timing[engine].values())
