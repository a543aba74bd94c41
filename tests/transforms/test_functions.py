"""The elementary functions against numpy's in double precision, in torch and in ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import scipy.special
import torch
from torch import Tensor, nn

from understudy.schema import Array
from understudy.transforms.functions import expm1, log1p, sigmoid

POSITIVE = torch.logspace(-12, 8, 500)
SMALL = torch.logspace(-12, -0.01, 500)
EXPONENTS = torch.logspace(-12, 1.7, 500)
X = torch.stack([torch.cat([POSITIVE, -SMALL]), torch.cat([EXPONENTS, -EXPONENTS]), torch.linspace(-60, 60, 1000)], 1)
TRUTH = np.stack([f(x) for f, x in zip((np.log1p, np.expm1, scipy.special.expit), X.double().numpy().T, strict=True)], 1)
RELATIVE = np.array([5e-7, 5e-6, 5e-7])


class All(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([log1p(x[:, 0]), expm1(x[:, 1]), sigmoid(x[:, 2])], 1)


def in_torch() -> Array:
    return np.asarray(All()(X).numpy())


def in_onnx() -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(All(), (X[:5],), dynamo=True, optimize=False, verbose=False, dynamic_shapes=({0: "n"},))
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: X.numpy()})[0])


@pytest.mark.parametrize("run", [in_torch, in_onnx])
def test_digits_of_small_numbers_are_kept(run: Callable[[], Array]) -> None:
    error = np.abs(run() - TRUTH) / np.abs(TRUTH)
    assert (error.max(0) < RELATIVE).all(), error.max(0)


def test_zero_is_exact_and_no_end_of_the_range_overflows() -> None:
    ends = torch.tensor([0.0, 1e30, -1e30])
    assert bool(torch.stack([log1p(ends), expm1(ends), sigmoid(ends)]).isfinite().all())
    assert float(log1p(ends)[0]) == float(expm1(ends)[0]) == 0
    assert float(sigmoid(ends)[0]) == 0.5
