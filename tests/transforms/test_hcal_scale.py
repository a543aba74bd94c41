"""Scales of the LHCb HCAL's pixels: both regions alike, empty cells, and what is refused."""

import math

import pytest
import torch

from understudy import hcal_geometry as hcal
from understudy.registry import factory


def scale(form, **words):
    return factory("transforms", {"kind": "hcal-scale", "form": form, **words})()


def image(inner, outer):
    mask = torch.tensor(hcal.inner_pixels()).flatten()
    return torch.where(mask, torch.tensor(inner), torch.tensor(outer))[None], mask


def test_the_threshold_is_at_1_and_the_cap_at_2_in_both_regions():
    for real, y in ((0.0, 0.0), (24.0, 1.0), (6120.0, 2.0), (24 * math.sqrt(255), 1.5)):
        x, _ = image(real, real / 4)
        found = scale("log").fit(x, {})(x, {})
        torch.testing.assert_close(found, torch.full_like(x, y), atol=1e-5, rtol=0)


def test_the_linear_scale_is_that_of_the_thesis():
    x, mask = image(6120.0, 1530.0)
    y = scale("linear").fit(x, {})(x, {})[0]
    assert (y[mask] == 1).all()
    assert (y[~mask] == 0.25).all()


def test_what_lies_below_1_becomes_less_than_the_threshold_continuously():
    x, mask = image(0.0, 0.0)
    log = scale("log").fit(x, {})
    below, at = (log.inverse(torch.full_like(x, y), {})[0] for y in (0.5, 1.0))
    torch.testing.assert_close(below[mask], torch.full_like(below[mask], 12.0))
    torch.testing.assert_close(at[~mask], torch.full_like(at[~mask], 6.0))


def test_images_of_another_size_or_beyond_the_cap_are_refused():
    with pytest.raises(ValueError, match=r"needs images of 3328 pixels \(52 x 64\), not 7 numbers"):
        scale("log").fit(torch.zeros(2, 7), {})
    x, _ = image(0.0, 1600.0)
    with pytest.raises(ValueError, match="has 1600 MeV in row 0, column 0, more than the read-out can report"):
        scale("log").fit(x, {})
    with pytest.raises(ValueError, match="the threshold of 7000 MeV is not below the cap"):
        scale("log", threshold=7000.0)
