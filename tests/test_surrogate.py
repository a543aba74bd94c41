from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from understudy.domain import OutOfDomainWarning
from understudy.simulator import GunSource, Simulator, Source
from understudy.surrogate import Surrogate, as_tensors


def test_a_surrogate_and_a_reference_are_simulators_and_a_gun_makes_a_source_of_either(surrogate, recipe):
    reference = recipe.reference()
    assert isinstance(surrogate, Simulator)
    assert isinstance(reference, Source)
    assert isinstance(reference.simulator, Simulator)
    source = GunSource(reference.gun, surrogate)
    assert isinstance(source, Source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)  # the domain is that of a few hundred events
        made = source.generate(20, np.random.default_rng(0))
    assert made["showers"].shape == (20, 89)


def test_same_generator_same_showers_whatever_the_chunk(surrogate, events):
    given = events.without_response().conditions
    one = surrogate.simulate(given, np.random.default_rng(1))
    two = surrogate.simulate(given, np.random.default_rng(1), chunk=11)
    np.testing.assert_allclose(one["showers"], two["showers"], rtol=1e-4, atol=1e-3)
    other = surrogate.simulate(given, np.random.default_rng(2))
    assert not np.allclose(one["showers"], other["showers"])


def test_a_derived_condition_is_drawn_unless_it_is_given(surrogate, events):
    noise = torch.randn(len(events), surrogate.noise_size, generator=torch.Generator().manual_seed(0))
    known = as_tensors(events.conditions)
    given = {k: v for k, v in known.items() if k != "total_energy"}
    with torch.inference_mode():
        first, last = surrogate.stages
        drawn = first(noise[:, :1], given).reshape(-1)
        from_drawn = surrogate.before_projections(noise, given)
        from_known = surrogate.before_projections(noise, known)
        by_hand = last.before_projections(noise[:, 1:], {**given, "total_energy": drawn})
    torch.testing.assert_close(from_drawn, by_hand)
    torch.testing.assert_close(from_known.sum(1), known["total_energy"], rtol=1e-4, atol=1e-2)
    assert not torch.allclose(from_drawn.sum(1), known["total_energy"], rtol=1e-3)


def test_the_last_stage_must_produce_the_response(surrogate):
    with pytest.raises(ValueError, match="must produce the response"):
        Surrogate(surrogate.schema, surrogate.stages[:1], surrogate.geometry, surrogate.domain)
