import pytest
import torch

from understudy.models.base import Batch
from understudy.training.batches import Batches, check_data

CPU = torch.device("cpu")


def rows(n):
    values = torch.arange(n)
    return Batch(values[:, None] * 1.0, values[:, None] * 2.0, values * 3.0, values + 100)


def test_every_event_once_per_pass():
    batches = Batches(rows(10), 4, 1, ("batches", 0), CPU)
    drawn = torch.cat([batches.next().response[:, 0] for _ in range(10)]).long()
    assert len(drawn) == 40
    passes = drawn.reshape(4, 10)
    assert all(sorted(p.tolist()) == list(range(10)) for p in passes)
    assert len({tuple(p.tolist()) for p in passes}) == 4


def test_parts_stay_together():
    batch = Batches(rows(50), 20, 1, (), CPU).next()
    value = batch.response[:, 0]
    assert len(batch) == 20
    assert torch.equal(batch.conditions[:, 0], 2 * value)
    assert torch.equal(batch.weights, 3 * value)
    assert torch.equal(batch.index, value.long() + 100)


def test_without_weights_and_index():
    data = rows(5)
    batch = Batches(Batch(data.response, data.conditions), 5, 1, (), CPU).next()
    assert batch.weights is None
    assert torch.equal(batch.index, batch.response[:, 0].long())


def test_position_is_all_that_counts():
    first = Batches(rows(10), 4, 7, ("a",), CPU)
    batches = [first.next().index for _ in range(9)]
    second = Batches(rows(10), 4, 7, ("a",), CPU)
    second.drawn = 4 * 4
    assert all(torch.equal(second.next().index, expected) for expected in batches[4:])
    other = Batches(rows(10), 4, 7, ("b",), CPU)
    assert not torch.equal(torch.cat([other.next().index for _ in range(9)]), torch.cat(batches))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Batch(torch.zeros(0, 2), torch.zeros(0, 1)), "zero events"),
        (Batch(torch.zeros(3, 2), torch.zeros(2, 1)), "2 rows of conditions where its response has 3"),
        (
            Batch(torch.tensor([[1.0], [torch.nan]]), torch.zeros(2, 1)),
            r"response holds NaN or infinity .* 1 of 2 events \(first in row 1",
        ),
        (Batch(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([torch.inf, 1.0])), "weights holds NaN"),
    ],
)
def test_bad_data(data, message):
    with pytest.raises(ValueError, match=message):
        check_data(data)
