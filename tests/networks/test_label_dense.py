"""A dense network that is told the label at every layer."""

import pytest
import torch

from understudy.build import build_stage
from understudy.networks.label_dense import LabelDense
from understudy.recipe import Recipe


def test_forward_against_the_written_out_network():
    rng = torch.Generator().manual_seed(1)
    net = LabelDense(inputs=5, outputs=2, labels=(3, 5), widths=(4, 6), slope=0.1, rng=rng)
    x = torch.randn(7, 5, generator=rng)

    def leaky(v):
        return torch.where(v > 0, v, 0.1 * v)

    first, second = net.hidden
    h = leaky(x @ first.weight.T + first.bias)
    h = leaky(torch.cat([h, x[:, 3:]], 1) @ second.weight.T + second.bias)
    torch.testing.assert_close(net(x), h @ net.last.weight.T + net.last.bias)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("delphes-electron-paper", 5_747_716),
        ("delphes-electron-paper-2", 22_768_644),
        ("delphes-electron-vanilla", 5_747_716),
        ("delphes-electron-paper-reduced", 36_676),
        ("delphes-electron-paper-2-reduced", 117_444),
    ],
)
def test_the_published_numbers_of_parameters(name, parameters):
    recipe = Recipe.load(name)
    model = build_stage(recipe.stages[-1], recipe, recipe.reference().schema, None).model
    assert sum(p.numel() for p in model.parameters()) == parameters
