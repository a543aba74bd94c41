"""Observables of pictures on pictures that are known, and what judges see of a class."""

import numpy as np
import pytest

from understudy.events import Events
from understudy.schema import Block, Schema
from understudy.validation.judges import Inputs
from understudy.validation.observables import evaluate


def pictures(image, label=None):
    schema = Schema((Block("label", kind="categorical"),), (Block("image", kind="image", shape=image.shape[1:]),))
    return Events(schema, {"label": np.zeros(len(image), int) if label is None else label}, {"image": image})


def test_a_bar_of_light():
    image = np.zeros((1, 6, 4), np.float32)
    image[0, 1:3, 2] = 1.0  # rows 1 and 2 of column 2
    found = {name: float(values[0]) for name, values in evaluate(pictures(image), None).items()}
    assert found["brightness"] == pytest.approx(2 / 24)
    assert found["contrast"] == pytest.approx(np.sqrt(2 / 24 * 22 / 24))
    assert found["sharpness"] == pytest.approx((2 / 20 + 4 / 18) / 2)
    assert found["dark"] == pytest.approx(22 / 24)
    assert (found["mean_rows"], found["mean_columns"]) == pytest.approx((1.5, 2))
    assert (found["width_rows"], found["width_columns"]) == pytest.approx((0.5, 0))


def test_colours_have_names():
    image = np.zeros((2, 3, 5, 5), np.float32)
    image[:, 1] = 0.5
    found = evaluate(pictures(image), None)
    assert [found[colour][0] for colour in ("red", "green", "blue")] == [0, 0.5, 0]
    assert found["brightness"][0] == pytest.approx(0.5 / 3)


def test_judges_see_classes_apart():
    image = np.random.default_rng(1).uniform(size=(3, 4, 4))
    seen = Inputs.of(pictures(image, np.array([0, 9, 40]))).conditions
    assert seen.sum(1).tolist() == [1, 1, 40]
    assert seen[1, 9] == 1
