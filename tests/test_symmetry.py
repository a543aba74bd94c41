"""Exact symmetries: laws of the group, of cells and conditions, and of real showers."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from scipy import stats

from small import small_recipe
from understudy import geometry, storage
from understudy.build import build_preparation, check_stages, training_batch
from understudy.events import Events
from understudy.geometry import DPHI, Calorimeter, Layer
from understudy.schema import Block, Schema
from understudy.symmetry import SQUARE, Augment, Symmetry, augmented, group
from understudy.validation.observables import evaluate

ECAL = geometry.builtin("lhcb-ecal")
GROUP = group(ECAL.symmetries)
every_element = pytest.mark.parametrize("element", GROUP, ids=lambda e: e.name)

CONDITIONS = (
    Block("incident_energy", "MeV", minimum=0),
    Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz")),
    Block("position", "mm", shape=(2,), columns=("x", "y")),
)


def showers(n=50, seed=0, weights=False):
    """Gaussian spots where the particles point."""
    rng = np.random.default_rng(seed)
    energy, position = rng.uniform(1e3, 6e4, n), rng.uniform(-5, 5, (n, 2))
    slopes = rng.uniform(-0.1, 0.1, (n, 2))
    momentum = np.concatenate([slopes, np.ones((n, 1))], 1) * energy[:, None]
    spot = position + 150 * slopes
    far = ((ECAL.layers[0].centres[None] - spot[:, None]) ** 2).sum(2)
    cells = energy[:, None] * np.exp(-far / 800) * rng.uniform(0.5, 1.5, (n, 900))
    given = {"incident_energy": energy, "momentum": momentum, "position": position}
    schema = Schema(CONDITIONS, (Block("showers", "MeV", shape=(900,), minimum=0),), (Block("label"),))
    return Events(schema, given, {"showers": cells}, rng.uniform(0, 2, n) if weights else None, aux={"label": np.zeros(n)})


def matrix(element):
    return np.array(element.matrix)


def test_the_group_of_the_square():
    assert len(GROUP) == 8
    assert GROUP[0].name == "identity"
    members = {e.matrix for e in GROUP}
    for a, b in itertools.product(GROUP, GROUP):
        assert a.after(b).matrix in members
        np.testing.assert_array_equal(matrix(a.after(b)), matrix(a) @ matrix(b))
    for e in GROUP:
        assert e.inverse.after(e).matrix == ((1, 0), (0, 1))
    assert all(s.after(s).matrix == ((1, 0), (0, 1)) for s in SQUARE)
    assert len(group(SQUARE[:2])) == 4
    assert len(group(SQUARE[:1])) == 2


@every_element
def test_permutations_are_permutations_and_compose_as_the_maps_do(element):
    source = element.permutation(ECAL)
    np.testing.assert_array_equal(np.sort(source), np.arange(900))
    cells = np.arange(900.0)
    for other in GROUP:
        both = element.after(other).permutation(ECAL)
        np.testing.assert_array_equal(cells[both], cells[other.permutation(ECAL)][source])
    np.testing.assert_array_equal(source[element.inverse.permutation(ECAL)], np.arange(900))


def test_named_elements_are_flips_and_transposition_of_the_image():
    cells = np.random.default_rng(1).random((3, 900))
    image = cells.reshape(3, 30, 30)
    for symmetry, expected in zip(SQUARE, (image[:, ::-1], image[:, :, ::-1], image.swapaxes(1, 2)), strict=True):
        np.testing.assert_array_equal(cells[:, symmetry.permutation(ECAL)], expected.reshape(3, -1))


@every_element
def test_energy_is_kept_and_barycentre_direction_and_impact_point_turn_together(element):
    events = showers()
    image = element.apply(events, ECAL)
    np.testing.assert_array_equal(np.sort(image["showers"], 1), np.sort(events["showers"], 1))
    np.testing.assert_array_equal(image["incident_energy"], events["incident_energy"])
    np.testing.assert_allclose(image["position"], events["position"] @ matrix(element).T)
    np.testing.assert_allclose(image["momentum"][:, :2], events["momentum"][:, :2] @ matrix(element).T)
    np.testing.assert_array_equal(image["momentum"][:, 2], events["momentum"][:, 2])
    mine, theirs = (evaluate(e, ECAL) for e in (events, image))
    before, after = (np.stack([v["mean_x_ecal"], v["mean_y_ecal"]], 1) for v in (mine, theirs))
    np.testing.assert_allclose(after, before @ matrix(element).T, atol=1e-2)
    assert image.schema.aux == ()


def test_the_atlas_clusters_have_no_mirror_since_back_and_strips_are_aligned_to_edges():
    for name in ("atlas-em-89", "atlas-em-247"):
        cluster = geometry.builtin(name)
        assert cluster.symmetries == ()
        centre = (0.0125, DPHI / 2)
        middle = Calorimeter("middle", (cluster.layer("middle"),))
        for symmetry, layer in (
            (Symmetry("mirror-eta", ((-1, 0), (0, 1)), centre), "back"),
            (Symmetry("mirror-phi", ((1, 0), (0, -1)), centre), "presampler"),
        ):
            np.testing.assert_array_equal(np.sort(symmetry.permutation(middle)), np.arange(middle.n_cells))
            with pytest.raises(ValueError, match=f"no symmetry of '{name}': .* of layer '{layer}' have no image"):
                symmetry.permutation(cluster)


def test_a_mirror_about_a_cells_centre_counts_positions_from_its_corner():
    symmetry = Symmetry("mirror-x", ((-1, 0), (0, 1)), centre=(0.5, 0.0), origin=(18.75, 0.0))
    row = Calorimeter("row", (Layer("row", (tuple(range(-1, 3)), (-1.0, 1.0))),))
    np.testing.assert_array_equal(symmetry.permutation(row), [2, 1, 0])
    found = symmetry.conditions({"position": np.array([[10.0, 3.0]])}, [CONDITIONS[2]])
    np.testing.assert_allclose(found["position"], [[27.5, 3.0]])


def test_symmetries_survive_plain_data():
    again = Calorimeter.from_dict(json.loads(json.dumps(ECAL.to_dict())))
    assert again.symmetries == ECAL.symmetries
    old = {k: v for k, v in ECAL.to_dict().items() if k != "symmetries"}
    assert Calorimeter.from_dict(old) == ECAL


def test_cells_of_unequal_size_or_in_rings_have_no_image():
    uneven = Calorimeter("uneven", (Layer("a", ((-3.0, 0.0, 1.0, 3.0), (-1.0, 1.0))),))
    ring = Calorimeter("ring", (Layer("a", ((-1.0, 1.0), (1.0, 2.0)), shape_of_grid="polar"),))
    for calorimeter in (uneven, ring):
        with pytest.raises(ValueError, match="have no image"):
            SQUARE[0].permutation(calorimeter)
    with pytest.raises(ValueError, match="must change signs or exchange axes"):
        Symmetry("rotation by 45 degrees", ((1, 1), (-1, 1)))
    with pytest.raises(ValueError, match="different fixed points"):
        SQUARE[0].after(Symmetry("other", ((1, 0), (0, -1)), centre=(1.0, 0.0)))


def test_conditions_of_which_it_is_not_known_how_they_change():
    for block in (Block("true_eta"), Block("polarisation", shape=(2,))):
        with pytest.raises(ValueError, match="not known how the symmetry 'mirror-x' changes"):
            SQUARE[0].conditions({block.name: np.zeros((1, *block.shape))}, [block])
    kept = SQUARE[0].conditions({"particle": np.array([2])}, [Block("particle", kind="categorical")])
    assert kept["particle"][0] == 2


@pytest.mark.parametrize(("words", "times"), [({}, 8), ({"symmetries": ["mirror-x"]}, 2), ({"copies": 3}, 4)])
def test_augmentation_adds_images_of_whole_events(words, times):
    events = showers(40, weights=True)
    more = augmented(events, Augment(**words), ECAL, np.random.default_rng(1))
    assert len(more) == times * 40
    np.testing.assert_array_equal(more["showers"][:40], events["showers"])
    np.testing.assert_array_equal(more.weights, np.tile(events.weights, times))
    elements = Augment(**words).elements(ECAL)
    images = {e.name: e.apply(events, ECAL) for e in elements}
    for row in range(40):
        found = set()
        for copy in range(times):
            mine = more[[copy * 40 + row]]
            same = [n for n, i in images.items() if np.array_equal(i["showers"][row], mine["showers"][0])]
            assert len(same) == 1
            np.testing.assert_array_equal(images[same[0]]["momentum"][row], mine["momentum"][0])
            np.testing.assert_array_equal(images[same[0]]["position"][row], mine["position"][0])
            found.add(same[0])
        assert len(found) == times  # each image once


def test_augmentation_is_seeded_and_off_by_default():
    events = showers(40)
    assert augmented(events, None, ECAL, np.random.default_rng(1)) is events
    drawn = [augmented(events, Augment(copies=2), ECAL, np.random.default_rng(s))["showers"] for s in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def augmenting(**words):
    recipe = small_recipe("lhcb-ecal", events=None)
    stage = recipe.stages[0].model_copy(update={"augment": Augment(**words)})
    return recipe.model_copy(update={"stages": [stage]})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"symmetries": ["mirror-z"]}, "'lhcb-ecal' has no symmetry 'mirror-z'; it has mirror-x, mirror-y, exchange-xy"),
        ({"copies": 8}, "asks for 8 images of each event, but .* give 7"),
    ],
)
def test_augmentation_that_cannot_be_is_noticed_before_the_events_are_read(words, message):
    recipe = augmenting(**words)
    schema = build_preparation(recipe, ECAL).schema(showers(1).schema)
    with pytest.raises(ValueError, match=message):
        check_stages(recipe, schema, ECAL)


def test_a_geometry_without_symmetries_cannot_augment():
    with pytest.raises(ValueError, match="'atlas-em-89', which declares no symmetries"):
        Augment().elements(geometry.builtin("atlas-em-89"))
    with pytest.raises(ValueError, match="no geometry"):
        Augment().elements(None)


def test_the_training_batch_of_an_augmented_stage_is_symmetric(shared):
    """All eight images: mean impact point and slopes vanish, exactly."""
    events = storage.read(shared / "geant4" / "lhcb_ecal_electrons.h5", stop=200)
    more = augmented(events, Augment(), ECAL, np.random.default_rng(1))
    np.testing.assert_allclose(more["position"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose((more["momentum"][:, :2] / more["momentum"][:, 2:]).mean(0), 0, atol=1e-6)
    from understudy.build import build_stage

    recipe = small_recipe("lhcb-ecal", events=None)
    stage = build_stage(recipe.baseline, recipe, more.schema, ECAL)
    batch = training_batch(stage, more)
    assert len(batch) == 1600
    mean = batch.response.mean(0).reshape(30, 30)
    np.testing.assert_allclose(mean, mean.flip(0), atol=1e-6)
    np.testing.assert_allclose(mean, mean.T, atol=1e-6)


@pytest.mark.parametrize("element", GROUP[1:], ids=lambda e: e.name)
def test_real_showers_have_the_symmetries_of_the_square(shared, element):
    """One half of the Geant4 showers against the image of the other half, in every observable."""
    events = storage.read(shared / "geant4" / "lhcb_ecal_electrons.h5", stop=2000)
    first, second = events[::2], element.apply(events[1::2], ECAL)
    mine, theirs = (evaluate(e, ECAL) for e in (first, second))
    for e, values in ((first, mine), (second, theirs)):
        for i, axis in enumerate("xy"):
            values[f"offset_{axis}"] = values[f"mean_{axis}_ecal"] - e["position"][:, i]
    tested = {k: stats.ks_2samp(mine[k][~np.isnan(mine[k])], v[~np.isnan(v)]).pvalue for k, v in theirs.items()}
    assert min(tested.values()) > 1e-4 / len(tested), min(tested, key=tested.get)
