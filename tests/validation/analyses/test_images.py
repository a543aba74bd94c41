"""Image quality: real digits pass; collapsed, wrongly labelled and copied ones are seen for what they are."""

from dataclasses import replace

import numpy as np
import pytest

from understudy.events import Events
from understudy.references.digits import parametric_digits
from understudy.registry import factory
from understudy.schema import Block, Schema
from understudy.validation.analyses.base import Samples
from understudy.validation.analyses.images import to_nearest

N = 300


def digits(n, seed):
    return parametric_digits(size=16, spread=0.6).generate(n, np.random.default_rng(seed))


def collapsed(events):
    """One picture of each class, again and again."""
    label = events["label"]
    first = {k: int(np.flatnonzero(label == k)[0]) for k in np.unique(label)}
    noise = np.random.default_rng(1).uniform(0, 0.01, events["image"].shape)
    return events.with_response({"image": events["image"][[first[k] for k in label]] + noise})


@pytest.fixture(scope="module")
def samples():
    train, real = digits(1500, 1), digits(N, 4)
    copies = train[:N]
    wrong = replace(real, conditions={"label": (real["label"] + 1) % 10})
    candidates = {"real": real, "collapsed": collapsed(real), "wrong": wrong, "copies": copies}
    return Samples(digits(N, 2), digits(N, 3), candidates, train=train, replicas=20, seed=1)


@pytest.fixture(scope="module")
def findings(samples):
    return factory("analyses", {"kind": "image-quality", "epochs": 10, "channels": [8, 16]}, "analyses")()(samples)


def test_real_pictures_are_like_their_floor_and_pass(findings):
    numbers = findings[0].numbers["real"]
    assert numbers["accuracy"]["value"] > 0.85
    for name in ("precision", "recall", "coverage", "density"):
        entry = numbers[name]
        assert abs(entry["value"] - entry["floor"]) < 5 * (entry["error"] + entry["floor_error"]), name
    assert not findings[0].reasons["real"]


def test_accuracy_alone_passes_a_collapsed_sample_and_coverage_does_not(findings):
    numbers = findings[0].numbers["collapsed"]
    assert numbers["accuracy"]["value"] > 0.75
    assert numbers["coverage"]["value"] < 0.3 * numbers["coverage"]["floor"]
    assert any("is the coverage of the real images" in reason for reason in findings[0].reasons["collapsed"])


def test_pictures_of_other_classes_than_asked_for(findings):
    numbers = findings[0].numbers["wrong"]
    assert numbers["accuracy"]["value"] < 0.1
    assert numbers["coverage"]["value"] > 0.8
    assert [*numbers["classes"]] == [str(k) for k in range(10)]
    assert "of the images are put into the class that was asked for" in findings[0].reasons["wrong"][0]


def test_copies_of_training_pictures_lie_on_them(findings):
    nearness = findings[0].numbers["copies"]["nearness"]
    assert nearness["value"] == pytest.approx(0, abs=1e-6)
    assert nearness["floor"] > 0.05


def test_nearest_pictures():
    known = np.random.default_rng(1).uniform(size=(40, 1, 4, 4)).astype(np.float32)
    distance, order = to_nearest(known[[7, 3]] + 0.01, known, 2)
    assert order[:, 0].tolist() == [7, 3]
    np.testing.assert_allclose(distance, 0.01, rtol=1e-4)


def test_tables_and_pictures(findings):
    assert [finding.title for finding in findings] == [
        "Classes, fidelity and variety of the images",
        "Images by class",
        "Nearest training images",
    ]
    assert [*findings[0].rows[0]] == ["", "real", "collapsed", "wrong", "copies", "real images"]
    assert all(finding.pictures[0].data.startswith(b"\x89PNG") for finding in findings[1:])


def test_without_training_pictures_it_is_left_out(samples):
    (finding,) = factory("analyses", {"kind": "image-quality"}, "analyses")()(replace(samples, train=None))
    assert finding.text.startswith("Left out")
    assert not finding.numbers


def test_what_is_refused(samples):
    ask = factory("analyses", {"kind": "image-quality"}, "analyses")()
    with pytest.raises(ValueError, match="counts all images alike, but these have weights"):
        ask(replace(samples, train=replace(samples.train, weights=np.ones(1500))))
    numbers = Events(Schema((Block("a"),), (Block("y"),)), {"a": np.ones(9)}, {"y": np.ones(9)})
    with pytest.raises(ValueError, match="looks at a response that is one image of rows and columns"):
        ask(replace(samples, reference=numbers))
    nameless = Events(Schema((Block("a"),), samples.reference.schema.response), {"a": np.ones(N)}, samples.reference.response)
    with pytest.raises(ValueError, match="needs one condition that is a class, found none"):
        ask(replace(samples, reference=nameless))
