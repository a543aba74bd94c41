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


def test_a_steep_transform_and_a_vector_are_judged_by_what_moves_them():
    from understudy.deployment.parity import TOLERANCE, _scale
    from understudy.schema import Block, Schema

    schema = Schema((), (Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz")), Block("time", "ns")))
    packed = np.array([[3e4, -4e4, 1.2e5, 1e-3]])
    np.testing.assert_allclose(_scale(schema, packed), [[1.3e5, 1.3e5, 1.3e5, 1.0]])
    assert TOLERANCE == 1e-5


def test_how_far_a_response_moves_is_that_of_the_models_numbers(surrogate, events):
    import torch

    from understudy.deployment.parity import DRAWN_STEP, TOLERANCE, _rounding
    from understudy.surrogate import as_tensors

    noise = torch.randn(len(events), surrogate.noise_size, generator=torch.Generator().manual_seed(1))
    given = as_tensors({b.name: events.conditions[b.name] for b in surrogate.schema.given})
    told = as_tensors(events.conditions)  # the cells' energy sum too, which is then not drawn
    with torch.inference_mode():
        moved, drawn = _rounding(surrogate, noise, told), _rounding(surrogate, noise, given)
        stage, rest, known = surrogate.until_last(noise, told)
        fractions = stage.model.sample(rest, stage.encoder(known))
        response = surrogate.before_projections(noise, given)
    typical = fractions.square().mean(0).sqrt()  # the response is the fractions times the cells' energy sum
    expected = TOLERANCE * torch.maximum(fractions, typical) * known["total_energy"][:, None]
    np.testing.assert_allclose(moved, expected.numpy(), rtol=0.2, atol=2e-7 * float(known["total_energy"].max()))
    np.testing.assert_allclose(drawn, DRAWN_STEP * response.numpy(), rtol=0.5, atol=2e-6 * float(known["total_energy"].max()))
    assert drawn.sum() > 2 * moved.sum()
