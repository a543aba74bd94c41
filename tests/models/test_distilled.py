"""Students of needed runs: what they take over, what they are taught, and what is refused."""

import shutil
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch

from small import small
from understudy.build import build_stage, training_batch
from understudy.console import Console
from understudy.deployment.bundle import load_needs, read_trained
from understudy.deployment.timing import measure_timing
from understudy.domain import Domain
from understudy.models.base import Batch, Model
from understudy.models.distilled import Distilled, Pairs
from understudy.needs import pin
from understudy.recipe import Recipe
from understudy.registry import factory
from understudy.rivals import rivals
from understudy.rundir import RunDirectory
from understudy.schema import Block, Schema
from understudy.splits import prepare
from understudy.steps import train_only
from understudy.surrogate import Stage, Surrogate
from understudy.training.loop import TrainingInterrupted, TrainingSettings, train
from understudy.transforms.base import Chain
from understudy.transforms.features import FeatureEncoder

NETWORK = {"kind": "dense", "layers": 1, "width": 64, "activation": "silu"}
D = 3


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class Known(Model):
    """A bent map of the noise that turns with the first condition; its parameter shows whether it is trained."""

    noise_size = D

    def __init__(self):
        super().__init__()
        self.bend = torch.nn.Parameter(torch.tensor(0.5))

    def turns(self):
        return ()

    def sample(self, noise, conditions):
        return noise + self.bend * torch.tanh(noise.roll(1, 1) * conditions[:, :1]) + conditions


def stand_in(model, produces="response", words=None):
    schema = Schema((Block("a"), Block("b"), Block("sum", derived=True)), (Block("y", shape=(D,)),))
    stages = [Stage(name, FeatureEncoder({"a": "raw"}, schema), Chain(), model) for name in dict.fromkeys((produces, "response"))]
    for stage in stages:
        stage.words = words or {}
    return Surrogate(schema, stages, None, Domain({}, {}, {}))


def student(needs=None, seed=0, given=None, **words):
    made = factory("models", {"kind": "distilled", "teacher": "first", "network": NETWORK, **words}, "model")
    needs = {"first": stand_in(Known())} if needs is None else needs
    return made(feature_size=D, response_size=D, needs=needs, rng=rng(seed), **(given or {}))


def training_split(n=1000, weights=None):
    conditions = torch.rand(n, D, generator=rng(4)) * 2 - 1
    return Batch(torch.randn(n, D, generator=rng(5)), conditions, weights, torch.arange(n))


def unexplained(model):
    """The part of the variance that the student does not explain."""
    c, z = training_split().conditions, torch.randn(1000, D, generator=rng(6))
    truth = Known().sample(z, c)
    with torch.no_grad():
        return float((model.sample(z, c) - truth).square().mean() / truth.var(0).mean())


def trained(model, folder, epochs=60, resume=False, data=None):
    settings = TrainingSettings(epochs=epochs, batch_size=100)
    train(model, data or training_split(), settings, seed=3, directory=folder, resume=resume)
    return model


@pytest.mark.parametrize("words", [{}, {"steps": 2}, {"residual": False}, {"pairs": 5000}, {"jitter": 1.0}], ids=str)
def test_the_student_learns_the_map_of_its_teacher_and_leaves_it_alone(words, tmp_path):
    teacher = stand_in(Known())
    model = student({"first": teacher}, **words)
    before = unexplained(model)
    assert unexplained(trained(model, tmp_path)) < min(0.03, before / 10)
    (bend,) = teacher.parameters()
    assert float(bend) == 0.5
    assert not bend.requires_grad
    assert bend.grad is None
    assert not any("teacher" in name for name in model.state_dict())


def test_without_training_a_residual_student_of_no_width_is_the_identity():
    model = student()
    with torch.no_grad():
        for p in model.map.parameters():
            p.zero_()
    z = torch.randn(5, D, generator=rng())
    assert torch.equal(model.sample(z, torch.zeros(5, D)), z)


def test_negative_weights_do_not_reward_errors():
    data = training_split(weights=torch.where(torch.arange(1000) % 3 == 0, -1.0, 2.0))
    model = student()
    model.fit(data.response, data.conditions, data.weights)
    absolute = Batch(data.response, data.conditions, data.weights.abs())
    with torch.no_grad():
        assert float(model.loss(data, rng())) == float(model.loss(absolute, rng())) > 0


def test_the_loss_is_the_part_of_the_variance_that_is_not_explained():
    data = training_split(4000)
    model = student(residual=False)
    scales = torch.tensor([1.0, 3.0, 0.5])
    model.fit(data.response * scales, data.conditions)
    torch.testing.assert_close(model.column_weights, 1 / (data.response * scales).var(0, correction=0))
    z, c = torch.randn(2, 4000, D, generator=rng(1))
    target = model.teacher.sample(z, c)
    with torch.no_grad():
        expected = ((model.sample(z, c) - target).square() * model.column_weights).mean()

    model._fresh = lambda *_: Pairs(z, c, target, None)
    with torch.no_grad():
        assert float(model.loss(data, rng())) == pytest.approx(float(expected), rel=1e-5)


def test_columns_that_hardly_vary_do_not_count_without_bound():
    data = training_split()
    model = student()
    model.fit(data.response * torch.tensor([1.0, 1.0, 0.0]), data.conditions)
    assert float(model.column_weights[2]) == pytest.approx(1500, rel=0.1)


def test_jittered_conditions_lie_between_those_of_events_and_flags_stay():
    data = training_split()
    conditions = torch.cat([data.conditions[:, :2], (torch.arange(1000) % 2)[:, None].float()], 1)
    model = student(jitter=0.7)
    model.fit(data.response, conditions)
    pairs = model._fresh(conditions, None, rng())
    assert not torch.equal(pairs.features[:, :2], conditions[:, :2])
    assert torch.equal(pairs.features[:, 2], conditions[:, 2])
    assert bool((pairs.features >= conditions.min(0).values).all() & (pairs.features <= conditions.max(0).values).all())
    torch.testing.assert_close(pairs.target, Known().sample(pairs.noise, pairs.features))


def test_pairs_that_are_kept_are_the_teachers_and_are_drawn_again_alike():
    data = training_split(weights=torch.rand(1000, generator=rng()))
    first, again = (student(pairs=3000, jitter=0.2) for _ in range(2))
    for model in (first, again):
        model.fit(data.response, data.conditions, data.weights)
    model.loss(data, rng(9))
    a, b = (m._drawn_once(torch.device("cpu")) for m in (first, again))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert [len(x) for x in a] == [3000] * 4
    torch.testing.assert_close(a.target, Known().sample(a.noise, a.features))
    with pytest.raises(RuntimeError, match="call fit first"):
        student(pairs=10).loss(data, rng())


@pytest.mark.parametrize("words", [{}, {"pairs": 500}], ids=str)
def test_an_interrupted_training_ends_the_same(words, tmp_path, monkeypatch):
    whole = trained(student(**words), tmp_path / "whole", epochs=4)
    calls, loss = [], Distilled.loss

    def interrupted(self, batch, generator):
        calls.append(1)
        if len(calls) == 17:
            signal.raise_signal(signal.SIGINT)
        return loss(self, batch, generator)

    monkeypatch.setattr(Distilled, "loss", interrupted)
    with pytest.raises(TrainingInterrupted):
        trained(student(**words), tmp_path / "again", epochs=4)
    resumed = trained(student(**words), tmp_path / "again", epochs=4, resume=True)
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in resumed.state_dict().items())


class Tripled(Chain):
    """Numbers that stand for cells of 3, 6 and 9 MeV."""

    def _inverse(self, response, conditions):
        return response * torch.tensor([3.0, 6.0, 9.0])


def test_energetic_cells_may_count_more():
    data = training_split(5000)
    model = student(energy_weighting=0.5, given={"transforms": Tripled().fit(data.response, {})})
    model.fit(data.response, data.conditions)
    shares = model.column_weights * data.response.var(0, correction=0)
    torch.testing.assert_close(shares, 0.5 + 0.5 * torch.tensor([9.0, 36.0, 81.0]) / 42, rtol=0.1, atol=0)
    with pytest.raises(ValueError, match="energy_weighting needs the stage's transforms"):
        student(energy_weighting=0.5).fit(data.response, data.conditions)


def test_a_teacher_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"teacher 'first' is not among what the recipe needs \(nothing\); add it to 'needs'"):
        student({})
    with pytest.raises(ValueError, match="'first' has no stage that produces 'energy'; it produces sum, response"):
        student({"first": stand_in(Known(), "sum")}, given={"produces": "energy"})
    other = Schema((Block("a"),), (Block("cells", shape=(5,)),))
    with pytest.raises(ValueError, match="'first' produces y of 3 numbers, where this recipe has cells of 5; name"):
        student(given={"schema": other})
    needs = {"first": stand_in(Known(), words={"features": {"a": "raw"}})}
    with pytest.raises(ValueError, match=r"which has other features \({'a': 'raw'} there, {'a': 'log'} here"):
        student(needs, given={"words": {"features": {"a": "log"}}})
    with pytest.raises(ValueError, match="a student draws noise of its own, which its teacher does not have"):
        student(network={"kind": "rectified", "layers": 1, "width": 4})


def student_words(teacher, **changes):
    """A student of the quickstart."""
    data = small(name="student", baseline=None, needs={"teacher": {"run": str(teacher)}}, **changes)
    data["stages"][0]["model"] = {"kind": "borrowed", "teacher": "teacher"}
    network = {"kind": "dense", "layers": 1, "width": 8, "output": "softmax"}
    data["stages"][1]["model"] = {"kind": "distilled", "teacher": "teacher", "network": network, "residual": False}
    return data


def start(words, out, **options):
    (file := out.with_suffix(".yaml")).write_text(Recipe.from_dict(words).to_yaml())
    return train_only(file, out=out, console=Console(quiet=True), **options)


@pytest.fixture(scope="module")
def student_run(bundle, tmp_path_factory):
    return start(student_words(bundle), tmp_path_factory.mktemp("student") / "run")


def test_student_and_teacher_share_one_space_and_a_borrowed_stage_is_the_same(surrogate, student_run):
    mine, _, _ = read_trained(student_run)
    for a, b in zip(surrogate.stages, mine.stages, strict=True):
        for part in ("encoder", "transforms"):
            constants = getattr(a, part).state_dict()
            assert all(torch.equal(v, constants[k]) for k, v in getattr(b, part).state_dict().items())
    assert mine.noise_size == surrogate.noise_size
    z, given = torch.randn(20, 1, generator=rng()), {"incident_energy": torch.full((20,), 2e4), "position": torch.ones(20, 2)}
    assert torch.equal(surrogate.stages[0](z, given), mine.stages[0](z, given))


def test_the_constants_are_not_fitted_again(surrogate, bundle, events):
    recipe = pin(Recipe.from_dict(student_words(bundle)))
    theirs = surrogate.last.encoder.state_dict()
    taught = recipe.stages[1]
    for words, same in ((taught, True), (taught.model_copy(update={"model": factory("models", "gan")}), False)):
        built = build_stage(words, recipe, events.schema, surrogate.geometry, needs=load_needs(recipe))
        training_batch(built, events[:50])
        assert all(torch.equal(v, theirs[k]) for k, v in built.encoder.state_dict().items()) is same


def test_teacher_and_student_stand_side_by_side(surrogate, student_run, monkeypatch):
    recipe = Recipe.load(student_run / "recipe.yaml")
    data = prepare(recipe, RunDirectory.open(student_run, recipe, resume=True), Console(quiet=True))
    (name,) = found = rivals(recipe, data)
    assert name == "teacher"
    assert [*rivals(recipe, data, ("student", "teacher"))] == ["teacher (needed)"]
    monkeypatch.setattr("understudy.rivals.measure_timing", partial(measure_timing, budget_s=0.01, batches=(1, 50)))
    cost = found["teacher"].cost(data.test.without_response().conditions)
    assert cost["timing"]["onnx"].keys() == cost["timing"]["torch"].keys() == {"1", "50"}
    assert cost["training"] is None  # this bundle was never validated
    images = replace(data, geometry=None)
    assert rivals(recipe, images) == {}


def test_a_teacher_in_another_space_is_refused_before_anything_is_computed(bundle, tmp_path):
    words = student_words(bundle)
    words["stages"][1]["transforms"] = [*words["stages"][1]["transforms"], {"kind": "standardise"}]
    with pytest.raises(ValueError, match=r"cannot learn from 'teacher', which has other transforms \(.* there, .* here\)"):
        start(words, tmp_path / "run")
    assert not (tmp_path / "run" / "reference.h5").exists()


def test_a_teacher_whose_run_was_deleted_or_changed_is_refused(bundle, tmp_path):
    teacher, out = tmp_path / "teacher", tmp_path / "run"
    shutil.copytree(bundle, teacher)
    words = pin(Recipe.from_dict(student_words(teacher))).to_dict()
    manifest, weights = teacher / "manifest.json", teacher / "weights.safetensors"
    kept = manifest.read_text(), weights.read_bytes()
    manifest.write_text(kept[0].replace('"seed"', '"seed" '))
    with pytest.raises(ValueError, match=r"needs 'teacher' from .* whose bundle has changed since it was pinned"):
        start(words, out)
    manifest.write_text(kept[0])
    weights.write_bytes(kept[1][:-1] + bytes([kept[1][-1] ^ 1]))
    with pytest.raises(ValueError, match=r"weights.safetensors differs from its checksum in the manifest"):
        start(words, out)
    weights.write_bytes(kept[1])
    start(words, out)
    shutil.rmtree(teacher)
    with pytest.raises(FileNotFoundError, match=r"needs 'teacher' from .* holds no bundle; do that run first"):
        start(words, out, resume=True)
    with pytest.raises(FileNotFoundError, match=r"needs 'teacher' from .* holds no bundle"):
        read_trained(out)
