"""Fixtures for all tests. What is heavy is imported inside them, so that a test pays only for what it uses."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_records_of_tracing() -> None:
    """Pytest listens to every logger that does not propagate, and torch describes each step of an export to who listens.

    Exports would take three times as long.
    """
    trace = logging.getLogger("torch.__trace")
    trace.handlers.clear()
    trace.addHandler = lambda handler: None  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real inputs that lies beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared")
    return folder


@pytest.fixture(scope="session")
def recipe() -> Any:
    """The quickstart, cut down to seconds."""
    from small import small_recipe

    return small_recipe()


@pytest.fixture(scope="session")
def events(recipe: Any) -> Any:
    """Prepared reference events of that recipe."""
    import numpy as np

    from understudy.build import build_geometry, build_preparation

    geometry = build_geometry(recipe)
    made = recipe.reference().generate(300, np.random.default_rng(5))
    return build_preparation(recipe, geometry)(made, geometry)


@pytest.fixture(scope="session")
def surrogate(recipe: Any, events: Any) -> Any:
    """Fitted transforms and random weights: enough to be run and exported."""
    import torch

    from understudy.build import build_geometry, build_surrogate, training_batch
    from understudy.domain import Domain

    built = build_surrogate(recipe, events.schema, build_geometry(recipe), Domain.of(events), torch.Generator().manual_seed(3))
    for stage in built.stages:
        batch = training_batch(stage, events)
        stage.model.fit(batch.response, batch.conditions, batch.weights)
    return built.eval()


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory, surrogate: Any) -> Any:
    """The ONNX graphs of that surrogate."""
    from understudy.deployment.export import export_graphs

    return export_graphs(surrogate, tmp_path_factory.mktemp("graphs"))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, surrogate: Any, recipe: Any, graphs: Any) -> Path:
    """The bundle of that surrogate."""
    from understudy.deployment.bundle import write_bundle

    return write_bundle(tmp_path_factory.mktemp("deployment") / "bundle", surrogate, recipe, graphs)
