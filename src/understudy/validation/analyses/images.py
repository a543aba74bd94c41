r"""Are generated pictures of the class that was asked for, and do they have the variety of real ones?

A classifier trained on the real training images (`image_classifier.py`) looks at reference, floor and candidates. The share
of images that it puts into the class that was asked for tells whether they can be recognised, and says nothing of variety: a
model that gives one good image of each class passes. Precision, recall, density, coverage and a Frechet distance in the
classifier's feature space (`neighbourhoods.py`) look at both, and generated images are shown beside the training images
nearest to them, which unmasks copies. The floor is what a second sample of real images gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt
from scipy.spatial.distance import cdist

from understudy.events import Events
from understudy.registry import register
from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.analyses.base import Analysis, Finding, Samples
from understudy.validation.bootstrap import Estimate
from understudy.validation.figures_images import by_class, grids_figure
from understudy.validation.image_classifier import ImageClassifier
from understudy.validation.neighbourhoods import by_event, frechet_with_error, mean_with_error
from understudy.validation.observables_image import of_image, pixels

TITLE = "Classes, fidelity and variety of the images"
WORDS = {
    "accuracy": "in the class asked for",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "frechet": "Frechet distance",
    "nearness": "distance to training",
}
MOST = 5000
"""Images of a sample that are looked at; further ones are left out."""
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, eq=False)
class _Looked:
    """What the classifier sees of a sample."""

    images: Array
    labels: Array
    features: Array
    classes: Array


@register("analyses", "image-quality")
class ImageQuality(Analysis):
    """Class accuracy, precision, recall, density, coverage, Frechet distance and nearest training images.

    Args:
        k: which neighbour the balls of precision to coverage reach to.
        epochs: passes of the classifier through the training images.
        channels: of its convolutions.
        least_accuracy: a candidate fails whose class accuracy is below this part of the real images'.
        least_coverage: likewise of the coverage.
        shown: images of each class that are shown.
        nearest: generated images that are shown beside the training images nearest to them.
    """

    def __init__(
        self,
        k: Annotated[int, Field(ge=1, le=50)] = 5,
        epochs: PositiveInt = 8,
        channels: tuple[PositiveInt, ...] = (32, 64),
        least_accuracy: Share = 0.95,
        least_coverage: Share = 0.8,
        shown: Annotated[int, Field(ge=1, le=20)] = 8,
        nearest: Annotated[int, Field(ge=1, le=20)] = 10,
    ) -> None:
        self.k, self.epochs, self.channels = k, epochs, channels
        self.least_accuracy, self.least_coverage = least_accuracy, least_coverage
        self.shown, self.nearest = shown, nearest

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """Numbers with floors, grids of samples, nearest training images.

        Raises:
            ValueError: the response is no image, there is no condition that is a class, or there are weights.
        """
        if samples.train is None:
            return [Finding(TITLE, "Left out: the classifier would be trained on the training images, and none are at hand.")]
        train, label = samples.train, self._checked(samples)
        known = pixels(train.packed().reshape(len(train), *train.schema.response[0].shape))
        classifier = ImageClassifier(known, train[label], samples.generator("classifier"), self.epochs, self.channels)
        reference, floor, *others = (
            self._looked(events, label, classifier) for events in (samples.reference, samples.floor, *samples.candidates.values())
        )
        looked = dict(zip(samples.candidates, others, strict=True))
        found = {"floor": self._numbers(reference, floor, known, samples.generator("floor"), samples.replicas)}
        found |= {
            name: self._numbers(reference, seen, known, samples.generator("candidate", name), samples.replicas)
            for name, seen in looked.items()
        }
        numbers = {name: with_floor(found[name], found["floor"]) for name in looked}
        for name, seen in looked.items():
            numbers[name]["classes"] = self._classes(reference, seen)
        return [
            Finding(
                TITLE,
                _text(self.k, len(known), len(reference.images)),
                numbers=numbers,
                rows=_rows(found),
                reasons={name: self._reasons(found[name], found["floor"]) for name in looked},
            ),
            self._grid(samples, reference, looked),
            self._nearest(samples, known, looked),
        ]

    def _checked(self, samples: Samples) -> str:
        """The name of the condition that is the class."""
        if of_image(samples.reference) is None:
            raise ValueError("image-quality looks at a response that is one image of rows and columns; leave the analysis out")
        names = [b.name for b in samples.reference.schema.conditions if b.kind == "categorical" and b.width == 1]
        if len(names) != 1:
            raise ValueError(
                f"image-quality needs one condition that is a class, found {', '.join(names) or 'none'}; name it in the recipe,"
                " or leave the analysis out"
            )
        if any(e is not None and e.weights is not None for e in (samples.train, samples.reference, *samples.candidates.values())):
            raise ValueError("image-quality counts all images alike, but these have weights; leave the analysis out")
        return names[0]

    def _looked(self, events: Events, label: str, classifier: ImageClassifier) -> _Looked:
        events = events[:MOST]
        images = pixels(np.asarray(events.response[events.schema.response[0].name]))
        return _Looked(images, np.asarray(events[label]), *classifier(images))

    def _numbers(
        self, reference: _Looked, seen: _Looked, known: Array, generator: np.random.Generator, replicas: int
    ) -> dict[str, Estimate]:
        right = (seen.classes == seen.labels).astype(float)
        found = {"accuracy": mean_with_error(right, generator, replicas)}
        for name, values in by_event(reference.features, seen.features, self.k).items():
            found[name] = mean_with_error(values, generator, replicas)
        found["frechet"] = frechet_with_error(reference.features, seen.features, generator, replicas)
        found["nearness"] = mean_with_error(to_nearest(seen.images, known)[0], generator, replicas)
        return found

    def _classes(self, reference: _Looked, seen: _Looked) -> dict[str, dict[str, float]]:
        covered = by_event(reference.features, seen.features, self.k)["coverage"]
        answer = {}
        for label in np.unique(reference.labels):
            mine = seen.labels == label
            right = float((seen.classes[mine] == label).mean()) if mine.any() else float("nan")
            answer[str(label)] = {"accuracy": right, "coverage": float(covered[reference.labels == label].mean())}
        return answer

    def _reasons(self, found: Mapping[str, Estimate], floor: Mapping[str, Estimate]) -> list[str]:
        reasons = []
        for name, least, what in (
            ("accuracy", self.least_accuracy, "of the images are put into the class that was asked for"),
            ("coverage", self.least_coverage, "is the coverage of the real images"),
        ):
            mine, real = found[name].value, floor[name].value
            if mine < least * real:
                reasons.append(f"{mine:.3f} {what}, less than {least:g} of the {real:.3f} of real images.")
        return reasons

    def _grid(self, samples: Samples, reference: _Looked, looked: Mapping[str, _Looked]) -> Finding:
        classes = [int(k) for k in np.unique(reference.labels)]
        shades = figures.colours(looked)
        blocks = [(samples.reference_name, by_class(reference.images, reference.labels, classes, self.shown), "black")]
        blocks += [(n, by_class(s.images, s.labels, classes, self.shown), shades[n]) for n, s in looked.items()]
        figure = grids_figure(blocks, [f"class {k}" for k in classes])
        told = "Real images and generated ones by class, the first of each sample, not chosen"
        return Finding("Images by class", f"{told}.", pictures=[figures.png(figure, told)])

    def _nearest(self, samples: Samples, known: Array, looked: Mapping[str, _Looked]) -> Finding:
        name, seen = next(iter(looked.items()))
        chosen = [int(np.flatnonzero(seen.labels == k)[0]) for k in np.unique(seen.labels)][: self.nearest]
        generated = seen.images[chosen]
        _, order = to_nearest(generated, known, 4)
        blocks = [(name, generated[:, None], figures.colours(looked)[name]), ("nearest training images", known[order], "black")]
        figure = grids_figure(blocks, [f"class {k}" for k in seen.labels[chosen]])
        told = "One generated image of each class and the four training images that are nearest in their pixels"
        return Finding("Nearest training images", f"{told}: a copy would be seen.", pictures=[figures.png(figure, told)])


def to_nearest(images: Array, known: Array, k: int = 1) -> tuple[Array, Array]:
    """Root mean square difference per pixel to the nearest of `known`, `(n,)`, and the rows of the `k` nearest, `(n, k)`."""
    flat, others = (x.reshape(len(x), -1) for x in (images, known))
    square = (flat**2).sum(1)[:, None] - 2 * flat @ others.T + (others**2).sum(1)
    order = np.argsort(square, axis=1)[:, :k]
    exact = np.array([cdist(flat[i : i + 1], others[order[i, :1]])[0, 0] for i in range(len(flat))])
    return exact / np.sqrt(flat.shape[1]), order


def with_floor(found: Mapping[str, Estimate], floor: Mapping[str, Estimate]) -> dict[str, Any]:
    """Each number with its error, its floor and the floor's error."""
    return {
        name: {"value": e.value, "error": e.error, "floor": floor[name].value, "floor_error": floor[name].error}
        for name, e in found.items()
    }


def _rows(found: Mapping[str, Mapping[str, Estimate]]) -> list[dict[str, str]]:
    order = [*(name for name in found if name != "floor"), "floor"]
    titles = {name: "real images" if name == "floor" else name for name in order}
    return [
        {"": words, **{titles[name]: f"{found[name][key].value:.3f} ± {found[name][key].error:.3f}" for name in order}}
        for key, words in WORDS.items()
    ]


def _text(k: int, known: int, judged: int) -> str:
    return (
        f"A classifier trained on {known:,} real training images looks at {judged:,} images of each sample. Precision, recall,"
        f" density and coverage count neighbours ({k}) in the space of its features, in which the Frechet distance is taken as"
        " well; the distance to training is the root mean square difference of the pixels to the nearest training image, smaller"
        " than that of real images where training images are repeated. The last column is what as many other real images get."
    )
