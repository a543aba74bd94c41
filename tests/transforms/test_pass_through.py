"""What a detector passes on unchanged."""

import pytest
import torch

from understudy.schema import Block, Schema
from understudy.transforms.pass_through import PassThrough

SCHEMA = Schema(
    (Block("pt"), Block("eta"), Block("spot", shape=(2,))),
    (Block("seen_spot", shape=(2,)), Block("seen_pt"), Block("seen_eta")),
)


def sample(n=20):
    g = torch.Generator().manual_seed(1)
    known = {"pt": torch.rand(n, generator=g), "eta": torch.randn(n, generator=g), "spot": torch.randn(n, 2, generator=g)}
    return torch.cat([known["spot"], 2 * known["pt"][:, None], known["eta"][:, None]], 1), known


def test_values_are_copied_to_the_last_bit():
    x, known = sample()
    transform = PassThrough(SCHEMA, {"seen_spot": "spot", "seen_eta": "eta"}).fit(x, known)
    assert transform.output_size(4) == 1
    assert torch.equal(transform(x, known), x[:, 2:3])
    assert torch.equal(transform.inverse(x[:, 2:3], known), x)


def test_values_that_change_are_refused():
    x, known = sample()
    x[3, 3] += 1e-6
    with pytest.raises(ValueError, match=r"'seen_eta' of event 3 is .*, not the condition 'eta'; it has to be learned"):
        PassThrough(SCHEMA, {"seen_eta": "eta"}).fit(x, known)


@pytest.mark.parametrize(
    ("blocks", "what"),
    [
        ({"eta": "eta"}, "'eta' from 'eta' is not a block of the response"),
        ({"seen_eta": "phi"}, "'seen_eta' from 'phi' is not"),
        ({"seen_spot": "eta"}, "'seen_spot' has 2 numbers and 'eta' 1"),
        ({}, "name some blocks of the response"),
        ({"seen_spot": "spot", "seen_pt": "pt", "seen_eta": "eta"}, "leave at least one to be learned"),
    ],
)
def test_blocks_that_cannot_pass(blocks, what):
    with pytest.raises(ValueError, match=what):
        PassThrough(SCHEMA, blocks)
