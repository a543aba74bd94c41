"""How a validation is done and when a candidate passes it; what a recipe says under `validation`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from understudy.registry import Factory, factory

AnalysisEntry = Annotated[
    Factory,
    BeforeValidator(lambda value: factory("analyses", value)),
    PlainSerializer(lambda entry: entry.to_dict(), return_type=dict),
]
"""A `kind: name` of an analysis, checked and held as a Factory."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class StrongSettings(_Settings):
    """How hard the judges try that are trained on the training events."""

    seeds: int = Field(1, ge=1, description="times that the judges are trained anew; the AUC is their mean")
    events: int = Field(20_000, ge=100, description="training events of each class; further ones are left out")
    hidden: int = Field(128, ge=1, description="width of the network's two hidden layers")
    epochs: int = Field(20, ge=1, description="passes of the network through the training events")
    iterations: int = Field(200, ge=1, description="trees of the gradient boosting")


class ClassifierSettings(_Settings):
    """How hard the judges of the classifier two-sample test try.

    With `trained_on: training` there are strong judges besides (`strong.py`), trained on the stand-in's own training
    events and tested on all test events; the ordinary ones train on a part of the test events.
    """

    seeds: int = Field(3, ge=1, description="splits, each with newly trained judges; the AUC is their mean")
    train_fraction: float = Field(0.5, gt=0, lt=1, description="part of both samples that trains")
    replicas: int = Field(100, ge=2, description="bootstrap replicas behind an AUC's error")
    hidden: int = Field(128, ge=1, description="width of the network's two hidden layers")
    epochs: int = Field(20, ge=1, description="passes of the network through the training part")
    iterations: int = Field(100, ge=1, description="trees of the gradient boosting")
    trained_on: Literal["test", "training"] = Field("test", description="'training' adds judges trained on the training events")
    strong: StrongSettings = StrongSettings()


class Thresholds(_Settings):
    """When a candidate fails.

    It fails where an excess over the floor is larger than its threshold and larger than `significance` standard deviations,
    so that a small sample fails nothing by chance; a quantity that is not defined fails as well. AUC thresholds are meant
    for some thousand events: a judge that learns from more sees more.
    """

    significance: float = Field(3.0, ge=0, description="standard deviations that an excess must have to count")
    low_level: float = Field(0.15, ge=0, description="AUC above or below the floor of the network on cells")
    high_level: float = Field(0.10, ge=0, description="AUC above or below the floor of the trees on observables")
    combined: float = Field(0.15, ge=0, description="AUC above or below the floor of the judge on both")
    neighbour: float = Field(
        0.15, ge=0, description="AUC above or below the floor of the nearest-neighbour judge, which sees repeats"
    )
    strong_low_level: float | None = Field(None, ge=0, description="as low_level, of the judge trained on the training events")
    strong_high_level: float | None = Field(None, ge=0, description="as high_level, of the judge trained on the training events")
    strong_combined: float | None = Field(None, ge=0, description="as combined, of the judge trained on the training events")
    scale: float = Field(0.005, ge=0, description="relative difference of the mean response")
    ks: float = Field(0.15, ge=0, description="largest Kolmogorov-Smirnov distance of an observable above its floor")
    duplicates: float = Field(
        0.02, ge=0, description="fraction of events with a near copy in their sample, above the reference's"
    )
    too_close: float = Field(
        0.05, ge=0, description="fraction of events as near to the training sample as 1 % of held-out ones are"
    )
    training_distance_ks: float = Field(
        0.2, ge=0, description="KS distance between generated-to-training and unseen-to-training distances, above the floor"
    )
    copied: float = Field(
        0.05, ge=0, description="fraction of reference events as near to the candidate's as 1 % are to others, as after a leak"
    )
    too_far: float = Field(
        0.05, ge=0, description="fraction of reference events as far from the candidate's as 1 % are from others"
    )
    variety: float = Field(
        0.2, ge=0, description="width of an observable at one condition over the reference's, above or below 1"
    )


class VarietySettings(_Settings):
    """Many samples of one condition beside reference events there; 0 conditions leave the study out."""

    reference: str | None = Field(
        None,
        description="which of the recipe's references simulates at that condition; if absent the recipe's own, and where that"
        " is a file its events at the nearest conditions",
    )
    events: int = Field(300, ge=50, description="samples of each condition")
    conditions: int = Field(2, ge=0, le=10, description="conditions that are looked at")
    nearest: int = Field(200, ge=50, description="events at the nearest conditions, where the reference cannot simulate")


class ValidationSettings(_Settings):
    """How two samples are compared."""

    reference: str | None = Field(
        None, description="which of the recipe's references gives the test events; if absent the recipe's own (`tested.py`)"
    )
    events: int | None = Field(
        None, ge=100, description="test events of that reference; if absent, as many as the test split has"
    )
    max_events: int = Field(20_000, ge=100, description="events per sample that are compared; further ones are left out")
    replicas: int = Field(100, ge=2, description="bootstrap replicas behind the error of a distance")
    floor_repeats: int = Field(10, ge=2, description="divisions of the reference behind the floor of a distance")
    energy_bins: int = Field(12, ge=1, description="logarithmic energy bins of the curves")
    noise_term: bool = Field(False, description="fit the resolution with a term b/E as well, for cells with electronic noise")
    most_correlated: int = Field(4000, ge=0, description="cells above which no correlation matrix is made")
    histograms: int = Field(48, ge=1, description="observables with a figure; of more, those farthest above their floor")
    curves: int = Field(48, ge=0, description="curves with a figure; of more, those with the largest chi-squared")
    gallery: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        None, description="energies [MeV] of the single showers that are shown; if absent, quantiles of the sample"
    )
    variety: VarietySettings = VarietySettings()
    analyses: list[AnalysisEntry] = Field([], description="questions to this kind of detector, each a section of the report")
    classifier: ClassifierSettings = ClassifierSettings()
    thresholds: Thresholds = Thresholds()
