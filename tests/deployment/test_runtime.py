"""A graph in ONNX Runtime: rows are divided among threads."""

import numpy as np
import pytest

from understudy.deployment.runtime import Session


@pytest.mark.parametrize("n", [1, 2, 7, 400])
def test_rows_are_divided_among_threads_and_come_back_in_order(bundle, events, n):
    graph = bundle / "surrogate.onnx"
    one, three = Session(graph, threads=1), Session(graph, threads=3)
    rng = np.random.default_rng(2)
    width = next(i.shape[1] for i in one._session.get_inputs() if i.name == "noise")
    noise = rng.standard_normal((n, width), dtype=np.float32)
    given = {k: np.resize(v, (n, *v.shape[1:])) for k, v in events.conditions.items()}
    expected, found = one.run(noise, given), three.run(noise, given)
    assert found[0].shape == expected[0].shape
    assert len(found[0]) == n
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
    assert n == 1 or not np.allclose(found[0][0], found[0][-1])


def test_a_broken_graph_is_named(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"broken.onnx is not a usable ONNX graph"):
        Session(tmp_path / "broken.onnx")
