"""What calibrations find, keep and refuse."""

import numpy as np
import pytest
import torch

from understudy.calibrations.base import Pair
from understudy.geometry import Calorimeter, Layer, builtin
from understudy.registry import factory
from understudy.schema import Block
from understudy.training.loop import TrainingInterrupted

PLANE = Layer.grid("plane", (6, 6), (10.0, 10.0), (-30.0, -30.0), axes=("x", "y"), units=("mm", "mm"))
TAIL = Layer.grid("tail", (3, 2), (20.0, 30.0), (-30.0, -30.0), axes=("x", "y"), units=("mm", "mm"))
GEOMETRY = Calorimeter("two-planes", (PLANE, TAIL))
CELLS = (Block("showers", "MeV", shape=(GEOMETRY.n_cells,), minimum=0.0),)
NUMBERS = (Block("track", "MeV", shape=(2,), columns=("px", "py")), Block("particle", kind="categorical"))
SHORT = {"epochs": 12, "batch_size": 256, "score_every": 1, "threads": 1}
SMALL = {"hidden_layers": 1, "width": 24, "bins": 6}


def build(kind="moments", blocks=CELLS, geometry=GEOMETRY, floor=None, seed=0, training=SHORT, **keys):
    made = factory("calibrations", {"kind": kind, "training": training, **SMALL, **keys}, f"stages.0.calibration.{kind}")
    energy = None if geometry is None else "incident_energy"
    rng = torch.Generator().manual_seed(seed)
    return made(blocks=blocks, geometry=geometry, feature_size=1, energy=energy, floor=floor, rng=rng)


def toy(n, seed, response=1.0, broad=1.0):
    """Showers in two planes, and their energies; `response` and `broad` scale total energy and width."""
    rng = np.random.default_rng(seed)
    energy = np.exp(rng.uniform(np.log(1e3), np.log(1e4), n))
    cells = []
    for layer, share in ((PLANE, 0.8), (TAIL, 0.2)):
        centre, spread = rng.normal(0, 4, (n, 1, 2)), 11 * broad * np.exp(rng.normal(0, 0.1, (n, 1, 1)))
        profile = np.exp(-0.5 * (((layer.centres - centre) / spread) ** 2).sum(2)) * rng.gamma(20, 0.05, (n, layer.n_cells))
        cells.append(share * np.exp(rng.normal(0, 0.1, (n, 1))) * profile / profile.sum(1, keepdims=True))
    total = energy * response * np.exp(rng.normal(0, 0.05, n))
    whole = np.concatenate(cells, 1)
    whole *= (total / whole.sum(1))[:, None]
    return torch.tensor(np.where(whole < 1, 0, whole), dtype=torch.float32), torch.tensor(energy, dtype=torch.float32)


def pair(n, seed, **off):
    reference, energy = toy(n, seed)
    generated, other = toy(n, seed + 1, **off)
    generated = generated * (energy / other)[:, None]
    generated = torch.where(generated < 1, 0.0, generated)
    return Pair(reference, generated, energy.log()[:, None] - 8.0, {"incident_energy": energy})


def fitted(calibration, folder, training, validation, **how):
    calibration.fit(training, validation, seed=1, directory=folder, **how)
    return calibration.eval()


def applied(calibration, events):
    with torch.no_grad():
        return calibration(events.generated, events.features, events.conditions)


def described(calibration, response, events):
    with torch.no_grad():
        return calibration.description(response, events.conditions)


def test_one_step_is_enough_where_little_has_to_be_moved():
    cells, energy = toy(200, 5)
    conditions = {"incident_energy": energy}
    missed = {}
    for steps in (1, 3):
        shape = build(moments=["width"], steps=steps).description
        shape.fit(cells, conditions)
        wanted = shape(cells, conditions) + 0.03
        missed[steps] = float((shape(shape.impose(cells, wanted, conditions), conditions) - wanted).abs().quantile(0.9))
    assert missed[3] < 1e-4
    assert missed[3] < missed[1] < 0.003  # a tenth of the way


def test_a_gaussian_that_is_shifted_and_too_wide_is_moved_by_the_map_known_in_closed_form(tmp_path):
    g = torch.Generator().manual_seed(3)

    def sample(n):
        c = torch.randn(n, 1, generator=g)
        reference = torch.randn(n, 3, generator=g) + c
        generated = torch.randn(n, 3, generator=g) * torch.tensor([1.0, 1.3, 1.0]) + torch.tensor([0.4, 0.0, 0.0]) + c
        return Pair(reference, generated, c, {})

    blocks = (Block("numbers", shape=(3,)),)
    long = {**SHORT, "epochs": 15}
    calibration = build(blocks=blocks, geometry=None, moments=["numbers_0", "numbers_1"], training=long)
    fitted(calibration, tmp_path, sample(4000), sample(1000))
    test = sample(3000)
    moved, c = applied(calibration, test), test.features
    assert float((moved[:, :1] - (test.generated[:, :1] - 0.4)).abs().mean()) < 0.1
    assert float((moved[:, 1:2] - (c + (test.generated[:, 1:2] - c) / 1.3)).abs().mean()) < 0.1
    assert torch.equal(moved[:, 2], test.generated[:, 2])  # was not asked for


@pytest.mark.parametrize("floor", [None, torch.tensor([1.0])])
def test_energies_and_shapes_of_all_layers_are_imposed_together(floor):
    events, description = pair(500, 70), build(floor=floor).description
    description.fit(events.reference, events.conditions)
    asked = description(events.generated, events.conditions)
    asked = asked + 0.05 * asked.std(0) * torch.randn(500, 1, generator=torch.Generator().manual_seed(1))
    found = description(description.impose(events.generated, asked, events.conditions), events.conditions)
    far = ((found - asked) / asked.std(0)).abs().quantile(0.9, 0)
    assert bool((far < 2e-3).all()), far


@pytest.fixture(scope="module")
def moments(tmp_path_factory):
    """Fitted to showers that hold too much and are too broad."""
    training, validation = pair(3000, 10, response=1.02, broad=1.05), pair(600, 20, response=1.02, broad=1.05)
    calibration = build(floor=torch.tensor([1.0]), training={**SHORT, "epochs": 20})
    return fitted(calibration, tmp_path_factory.mktemp("moments"), training, validation)


def test_total_energy_layers_and_shapes_come_to_those_of_the_reference(moments):
    test = pair(3000, 30, response=1.02, broad=1.05)
    truth, before = (described(moments, x, test) for x in (test.reference, test.generated))
    after = described(moments, applied(moments, test), test)
    off = {n: float(v) for n, v in zip(moments.description.names, (before - truth).mean(0) / truth.std(0), strict=True)}
    left = {n: float(v) for n, v in zip(moments.description.names, (after - truth).mean(0) / truth.std(0), strict=True)}
    assert off["total_energy"] > 0.3
    assert off["width_x_plane"] > 0.25
    assert all(abs(value) < 0.13 for value in left.values()), left


def test_empty_cells_stay_empty_and_hit_cells_stay_above_the_threshold(moments):
    test = pair(500, 40, response=1.02, broad=1.05)
    after = applied(moments, test)
    assert torch.equal(after == 0, test.generated == 0)
    assert float(after[after > 0].min()) >= 1.0


def test_the_first_moment_rises_with_itself(moments):
    test = pair(400, 50)
    grid = torch.linspace(-4, 4, 400)[:, None]
    same = torch.cat([grid, torch.zeros(400, len(moments.description.names) - 1)], 1)
    with torch.no_grad():
        moved = same + moments.transport.move(same, test.features[:1].expand(400, 1))
    assert bool((moved[1:, 0] > moved[:-1, 0]).all())


def test_an_empty_shower_stays_empty(moments):
    test = pair(5, 60)
    with torch.no_grad():
        after = moments(torch.zeros_like(test.generated), test.features, test.conditions)
    assert torch.equal(after, torch.zeros_like(after))


def test_total_energy_alone_scales_the_cells(tmp_path):
    training, validation = pair(3000, 10, response=1.03), pair(600, 20, response=1.03)
    calibration = fitted(build("total-energy"), tmp_path, training, validation)
    test = pair(3000, 30, response=1.03)
    after = applied(calibration, test)
    ratio = (after / test.generated.clamp(min=1e-9))[test.generated > 0]
    response = after.sum(1) / test.conditions["incident_energy"]
    truth = test.reference.sum(1) / test.conditions["incident_energy"]
    assert abs(float(response.mean() - truth.mean())) < 0.004
    assert abs(float(response.std() / truth.std()) - 1) < 0.06
    factor = after.sum(1) / test.generated.sum(1)
    torch.testing.assert_close(ratio, factor[:, None].expand_as(after)[test.generated > 0], rtol=1e-5, atol=0)


def test_samples_that_do_not_differ_give_nearly_the_identity(tmp_path):
    training, validation, test = pair(3000, 10), pair(600, 20), pair(1000, 30)
    calibration = fitted(build(), tmp_path, training, validation)
    before, after = (described(calibration, x, test) for x in (test.generated, applied(calibration, test)))
    moved = (after - before) / before.std(0)
    assert bool((moved.square().mean(0).sqrt() < 0.3).all())
    assert float(moved.square().mean().sqrt()) < 0.15
    assert bool((moved.mean(0).abs() < 0.1).all())


def test_untrained_it_is_the_identity(tmp_path):
    training = pair(300, 10, response=1.1)
    calibration = build(training={**SHORT, "epochs": 1, "batch_size": 300})
    calibration.fit(training, training, seed=1, directory=tmp_path)
    with torch.no_grad():
        for head in (calibration.transport.weights[-1], calibration.transport.biases[-1]):
            head.chunk(2, 2)[1].zero_()
    after = applied(calibration, training)
    torch.testing.assert_close(after, training.generated, rtol=1e-3, atol=1e-2)


def test_signed_weights_that_say_nothing_change_nothing_much(tmp_path):
    training, validation = pair(2000, 10, response=1.02), pair(400, 20, response=1.02)
    ones = Pair(training.reference, training.generated, training.features, training.conditions, torch.ones(2000))
    plain = fitted(build("total-energy"), tmp_path / "plain", training, validation)
    weighted = fitted(build("total-energy"), tmp_path / "weighted", ones, validation)
    torch.testing.assert_close(applied(plain, validation), applied(weighted, validation), rtol=1e-4, atol=1e-3)


class _Stop:
    """Asks for an end in the middle."""

    def begin(self, rounds, done):
        pass

    def losses(self, done, epoch, losses):
        pass

    def row(self, row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt


def test_the_same_seed_gives_the_same_and_an_interrupted_fit_is_resumed_to_the_same(tmp_path):
    training, validation = pair(600, 10, broad=1.1), pair(200, 20, broad=1.1)
    quick = {**SHORT, "epochs": 5}
    whole, again = (fitted(build(training=quick), tmp_path / name, training, validation) for name in ("one", "two"))
    stopped = build(training=quick)
    with pytest.raises((KeyboardInterrupt, TrainingInterrupted)):
        stopped.fit(training, validation, seed=1, directory=tmp_path / "three", watch=_Stop())
    resumed = fitted(build(training=quick), tmp_path / "three", training, validation, resume=True)
    for other in (again, resumed):
        assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), other.state_dict().values(), strict=True))


def test_unfitted_use_raises():
    test = pair(5, 1)
    with pytest.raises(RuntimeError, match="Moments was used before it was fitted"):
        applied(build(), test)


def test_no_events_or_others_are_refused(tmp_path):
    test = pair(5, 1)
    wrong = Pair(test.reference[:4], test.generated, test.features, test.conditions)
    with pytest.raises(ValueError, match="compares generated events with reference events of the same conditions"):
        build().fit(wrong, test, seed=1, directory=tmp_path)
    none = Pair(test.reference[:0], test.generated[:0], test.features[:0], {})
    with pytest.raises(ValueError, match="cannot be fitted to zero events"):
        build().fit(none, test, seed=1, directory=tmp_path)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"moments": ["wdith"]}, "has no 'wdith'; geometry 'two-planes' has total_energy, layer_energies, barycentre, width"),
        ({"layers": ["back"]}, "has no layer 'back'; it has plane, tail"),
        ({"geometry": None, "blocks": NUMBERS, "moments": ["pz"]}, "the response has no 'pz'; it has track_px, track_py$"),
        ({"geometry": None, "blocks": NUMBERS, "radii": [1.0]}, "no calorimeter's, so it has no layers and radii"),
        ({"geometry": None, "blocks": NUMBERS[1:]}, "has no column that could be calibrated"),
        ({"kind": "total-energy", "geometry": None, "blocks": NUMBERS}, "no calorimeter's and has no total energy; it has track"),
        ({"moment": []}, "unknown key 'moment'"),
    ],
)
def test_what_the_response_lacks_is_said_in_one_sentence(keys, said):
    with pytest.raises(ValueError, match=said):
        build(**keys)


def test_photons_in_four_layers_have_no_containment_in_eta_and_phi():
    atlas = builtin("atlas-em-89")
    blocks = (Block("showers", "MeV", shape=(atlas.n_cells,), minimum=0.0),)
    with pytest.raises(ValueError, match="has no 'containment'; geometry 'atlas-em-89' has total_energy, layer_energies"):
        build(blocks=blocks, geometry=atlas, moments=["containment"])
    names = build(blocks=blocks, geometry=atlas).description.names
    assert len(names) == 1 + 3 + (2 + 1) + (2 + 1) + (2 + 2 + 1) + (2 + 1)
