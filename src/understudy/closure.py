"""Predictions of a needed regressor beside the conditions of events, for the closure that a report shows.

A regressor that a run needs reads the conditions from the response of reference, floor and candidates alike; what it says
travels as `aux["predicted_<condition>"]`, in physical units, and `validation` compares the residuals. Of a regressor's own run
`closure` gives the residuals on test events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.models.reading import check_regressor, reads_responses
from understudy.schema import Schema
from understudy.surrogate import Surrogate
from understudy.validation.observables_closure import residuals

PREFIX = "predicted_"


def regressors(needs: Mapping[str, Surrogate], geometry: Calorimeter | None, schema: Schema) -> dict[str, Surrogate]:
    """Those of `needs` that read responses; ValueError where one of them does not fit `geometry` and `schema`."""
    found = {name: surrogate for name, surrogate in needs.items() if reads_responses(surrogate)}
    for name, surrogate in found.items():
        check_regressor(surrogate, name, geometry, schema)
    return found


def with_predictions(events: Events, needs: Mapping[str, Surrogate]) -> Events:
    """`events` with what the regressors among `needs` read from their response; where two read one condition, the last one's."""
    for surrogate in needs.values():
        if not reads_responses(surrogate):
            continue
        (seen,) = surrogate.schema.conditions
        read = surrogate.simulate({seen.name: events.response[seen.name]}, np.random.default_rng(0))  # it draws nothing
        for block in surrogate.schema.response:
            events = events.with_aux(replace(block, name=PREFIX + block.name, minimum=None), read.response[block.name])
    return events


def closure(truth: Events, predicted: Events) -> dict[str, dict[str, float | str]]:
    """Bias and width of predicted minus true, of every column of the response of an inverted recipe.

    Args:
        truth: events whose response is true.
        predicted: the same events with the prediction in its place.

    Returns:
        By residual: `unit` (empty for momenta and energies, which are relative to the true one), `bias` with `bias_error`, the
        root mean square `width` with `width_error`, and half the width of the central 68 %, `central`. Weights count.
    """
    schema = Schema(
        truth.schema.response, (), tuple(replace(b, name=PREFIX + b.name, minimum=None) for b in truth.schema.response)
    )
    aux = {PREFIX + name: values for name, values in predicted.response.items()}
    both = Events(schema, truth.response, weights=truth.weights, aux=aux)
    w = np.ones(len(both)) if both.weights is None else both.weights
    found: dict[str, dict[str, float | str]] = {}
    for observable in residuals([schema]):
        values = np.asarray(observable.function(both, None), float)
        effective = w.sum() ** 2 / (w**2).sum()
        bias = float(w @ values / w.sum())
        width = float(np.sqrt(max(w @ (values - bias) ** 2 / w.sum(), 0.0)))
        order = np.argsort(values)
        part = np.cumsum(w[order]) / w.sum()
        low, high = (float(values[order][min(int(np.searchsorted(part, q)), len(values) - 1)]) for q in (0.16, 0.84))
        found[observable.name] = {
            "unit": observable.unit,
            "bias": bias,
            "bias_error": width / float(np.sqrt(effective)),
            "width": width,
            "width_error": width / float(np.sqrt(2 * effective)),
            "central": (high - low) / 2,
        }
    return found
