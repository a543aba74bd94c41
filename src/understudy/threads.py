"""How many threads numerical libraries use: small work is fastest on one, and the last bits depend on the number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """So many threads of torch, BLAS and OpenMP inside the block; as many as before if None."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        with threadpool_limits(limits=number):
            yield
    finally:
        torch.set_num_threads(before)
