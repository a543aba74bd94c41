"""A sample transformed piece by piece is the sample transformed."""

import pytest
import torch

from understudy.geometry import builtin
from understudy.schema import Block, Schema
from understudy.transforms.base import Chain, in_pieces
from understudy.transforms.divide import DivideByEnergy
from understudy.transforms.over_threshold import OverThreshold
from understudy.transforms.standardise import Standardise

ECAL = builtin("lhcb-ecal")


@pytest.mark.parametrize("rows", [1, 7, 100, 1000])
def test_the_pieces_are_the_whole(rows):
    g = torch.Generator().manual_seed(1)
    x = torch.where(torch.rand(100, 900, generator=g) < 0.9, 0.0, 0.1 + 100 * torch.rand(100, 900, generator=g))
    given = {"total_energy": x.sum(1)}
    schema = Schema((Block("total_energy", "MeV", derived=True),), (Block("showers", "MeV", shape=(900,)),))
    chain = Chain([OverThreshold(ECAL, schema, 0.1, power=0.25, by="total_energy"), Standardise()]).fit(x, given)
    torch.testing.assert_close(in_pieces(chain, x, given, rows), chain(x, given), rtol=0, atol=1e-6)


def test_a_chain_is_fitted_in_the_space_that_each_of_its_transforms_sees():
    g = torch.Generator().manual_seed(2)
    energy = 1e3 + 1e4 * torch.rand(500, generator=g)
    x, given = energy[:, None] * torch.rand(500, 3, generator=g), {"incident_energy": energy}
    schema = Schema((Block("incident_energy", "MeV"),), (Block("showers", "MeV", shape=(3,)),))
    y = Chain([DivideByEnergy(schema), Standardise()]).fit(x, given)(x, given)
    torch.testing.assert_close(y.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.std(0, unbiased=False), torch.ones(3), rtol=1e-4, atol=0)
