import json
import math

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.geometry import DPHI, Calorimeter, Layer, builtin, load, read_calochallenge

RING = Layer("ring", (tuple(np.linspace(-math.pi, math.pi, 9)), (0.0, 1.0, 3.0, 10.0)), ("alpha", "r"), ("rad", "mm"), "polar")
GRID = Layer("grid", ((0.0, 1.0, 3.0), (-2.0, -1.0, 1.0, 4.0)), ("x", "y"), ("mm", "mm"))

SHAPES = {
    "atlas-em-89": {"presampler": (3, 2), "strips": (24, 2), "middle": (3, 7), "back": (2, 7)},
    "atlas-em-247": {"presampler": (7, 2), "strips": (56, 2), "middle": (7, 11), "back": (4, 11)},
    "lhcb-ecal": {"ecal": (30, 30)},
}


def find_slowly(layer: Layer, first: float, second: float) -> int:
    """Slow twin of `Layer.find`: look at every cell."""
    for i in range(layer.shape[0]):
        for j in range(layer.shape[1]):
            in_first = layer.edges[0][i] <= first < layer.edges[0][i + 1]
            if in_first and layer.edges[1][j] <= second < layer.edges[1][j + 1]:
                return i * layer.shape[1] + j
    return -1


@pytest.mark.parametrize("name", SHAPES)
def test_built_in_geometries(name):
    calorimeter = builtin(name)
    assert {layer.name: layer.shape for layer in calorimeter.layers} == SHAPES[name]
    assert (
        calorimeter.n_cells
        == sum(a * b for a, b in SHAPES[name].values())
        == {"atlas-em-89": 89, "atlas-em-247": 247, "lhcb-ecal": 900}[name]
    )


def test_cell_sizes_of_the_paper():
    sizes = {layer.name: (np.diff(layer.edges[0]), np.diff(layer.edges[1])) for layer in builtin("atlas-em-89").layers}
    for name, eta, phi in (
        ("presampler", 0.025, 0.1),
        ("strips", 0.003125, 0.1),
        ("middle", 0.025, 0.025),
        ("back", 0.05, 0.025),
    ):
        np.testing.assert_allclose(sizes[name][0], eta, rtol=1e-9)
        np.testing.assert_allclose(sizes[name][1], phi, rtol=0.02)
    assert pytest.approx(math.tau / 256) == DPHI


def test_the_central_middle_cell_begins_at_zero():
    for name in ("atlas-em-89", "atlas-em-247"):
        calorimeter = builtin(name)
        middle = calorimeter.layer("middle")
        index = int(middle.find(np.array(0.0125), np.array(DPHI / 2)))
        assert index == middle.n_cells // 2
        np.testing.assert_allclose(middle.centres[index], (0.0125, DPHI / 2), atol=1e-12)


@pytest.mark.parametrize("layer", [GRID, RING], ids=lambda x: x.name)
def test_centres_areas_and_order(layer):
    k = 0
    for a0, a1 in zip(layer.edges[0][:-1], layer.edges[0][1:], strict=True):
        for b0, b1 in zip(layer.edges[1][:-1], layer.edges[1][1:], strict=True):
            np.testing.assert_allclose(layer.centres[k], ((a0 + a1) / 2, (b0 + b1) / 2))
            area = (a1 - a0) * (b1**2 - b0**2) / 2 if layer is RING else (a1 - a0) * (b1 - b0)
            np.testing.assert_allclose(layer.areas[k], area)
            k += 1
    assert k == layer.n_cells
    assert layer.areas.sum() == pytest.approx(math.pi * 100 if layer is RING else 18.0)


def test_polar_centres_in_the_plane():
    np.testing.assert_allclose(np.hypot(*RING.cartesian.T), RING.centres[:, 1])
    np.testing.assert_allclose(np.arctan2(RING.cartesian[:, 1], RING.cartesian[:, 0]), RING.centres[:, 0])
    disc = Layer("disc", ((-math.pi, math.pi), (0.0, 1.0, 2.0)), ("alpha", "r"), ("rad", "mm"), "polar")
    np.testing.assert_array_equal(disc.cartesian, np.zeros((2, 2)))
    np.testing.assert_array_equal(GRID.cartesian, GRID.centres)


@pytest.mark.parametrize("layer", [GRID, RING], ids=lambda x: x.name)
@given(seed=st.integers(0, 2**32 - 1))
def test_finding_cells_against_a_slow_twin(layer, seed):
    rng = np.random.default_rng(seed)
    first = np.concatenate([rng.uniform(layer.edges[0][0], layer.edges[0][-1], 20), layer.edges[0][:-1]])
    second = np.concatenate([rng.uniform(-12, 12, len(first) - 3), layer.edges[1][:3]])
    expected = [find_slowly(layer, a, b) for a, b in zip(first, second, strict=True)]
    assert layer.find(first, second).tolist() == expected


@pytest.mark.parametrize("layer", [GRID, RING], ids=lambda x: x.name)
def test_every_centre_lies_in_its_cell(layer):
    assert layer.find(*layer.centres.T).tolist() == list(range(layer.n_cells))


def test_points_outside_and_undefined():
    assert GRID.find(np.array([-0.1, 3.0, 1.0, 1.0, np.nan]), np.array([0.0, 0.0, 4.0, -2.1, 0.0])).tolist() == [-1] * 5
    assert GRID.find(np.zeros((4, 1)), np.zeros(3)).shape == (4, 3)


def test_alpha_is_periodic():
    alpha = np.linspace(-3.1, 3.1, 22)
    expected = RING.find(alpha, np.full(22, 2.0))
    for turns in (-2, -1, 1, 2):
        assert RING.find(alpha + turns * math.tau, np.full(22, 2.0)).tolist() == expected.tolist()
    assert (
        RING.find(np.array([math.pi]), np.array([0.5])).tolist()
        == RING.find(np.array([-math.pi]), np.array([0.5])).tolist()
        == [0]
    )
    assert (RING.find(np.array([-math.pi - 1e-16, np.nextafter(math.pi, 4), np.float32(math.pi)]), np.full(3, 0.5)) >= 0).all()


@pytest.mark.parametrize("edges", [(0.0,), (), (0.0, 0.0), (1.0, 0.0), (0.0, math.nan), (0.0, 2.0, 1.0)])
def test_edges_that_make_no_cells(edges):
    with pytest.raises(ValueError, match="layer 'bad' needs at least two increasing edges along phi"):
        Layer("bad", ((0.0, 1.0), edges))


def test_layers_have_different_names():
    with pytest.raises(ValueError, match="needs layers with different names"):
        Calorimeter("twice", (GRID, GRID))
    with pytest.raises(ValueError, match="needs layers with different names"):
        Calorimeter("empty", ())


class TestCells:
    both = Calorimeter("both", (GRID, RING))

    def test_slices_follow_the_layers(self):
        assert self.both.slices == {"grid": slice(0, 6), "ring": slice(6, 30)}
        assert self.both.layer_of_cell.tolist() == [0] * 6 + [1] * 24
        assert self.both.layer("ring") == RING
        with pytest.raises(ValueError, match="has no layer 'rings'; it has grid, ring"):
            self.both.layer("rings")

    def test_images(self):
        cells = np.arange(60).reshape(2, 30)
        images = self.both.images(cells)
        assert images["grid"].shape == (2, 2, 3)
        assert images["ring"].shape == (2, 8, 3)
        assert images["ring"][1, 2, 1] == 30 + 6 + 2 * 3 + 1
        assert self.both.images(cells[0])["grid"].shape == (2, 3)
        with pytest.raises(ValueError, match="has 29 cells per event where geometry 'both' has 30; name the geometry"):
            self.both.images(cells[:, :-1])

    def test_numbers_per_layer(self):
        spread = self.both.per_layer({"ring": 2.0, "grid": 1.0})
        assert spread.tolist() == [1.0] * 6 + [2.0] * 24
        for values in ({"grid": 1.0}, {"grid": 1.0, "ring": 2.0, "hall": 3.0}):
            with pytest.raises(ValueError, match="do not fit 'both', which has grid, ring"):
                self.both.per_layer(values)

    def test_plain_data(self):
        assert Calorimeter.from_dict(json.loads(json.dumps(self.both.to_dict()))) == self.both
        assert load(json.loads(json.dumps(self.both.to_dict()))) == self.both


def test_the_crop_of_89_cells_out_of_247():
    """The cells that the description of the Geant4 photons names."""
    big, small = builtin("atlas-em-247"), builtin("atlas-em-89")
    ranges = {"presampler": ((2, 4), (0, 1)), "strips": ((16, 39), (0, 1)), "middle": ((2, 4), (2, 8)), "back": ((1, 2), (2, 8))}
    expected = []
    for name, ((e0, e1), (p0, p1)) in ranges.items():
        n_phi = big.layer(name).shape[1]
        expected += [big.slices[name].start + e * n_phi + p for e in range(e0, e1 + 1) for p in range(p0, p1 + 1)]
    assert small.crop_of(big).tolist() == expected
    assert len(expected) == 89


def test_cropped_cells_are_where_they_were():
    big, small = builtin("atlas-em-247"), builtin("atlas-em-89")
    centres = {c.name: np.concatenate([layer.centres for layer in c.layers]) for c in (big, small)}
    np.testing.assert_allclose(centres[big.name][small.crop_of(big)], centres[small.name], atol=1e-12)
    assert big.crop_of(big).tolist() == list(range(247))


def test_crops_that_are_none():
    big, small = builtin("atlas-em-247"), builtin("atlas-em-89")
    with pytest.raises(ValueError, match="layer 'presampler' of 'atlas-em-247' is no crop of that of 'atlas-em-89'"):
        big.crop_of(small)
    with pytest.raises(ValueError, match="'lhcb-ecal' has no layer 'presampler'"):
        small.crop_of(builtin("lhcb-ecal"))
    shifted = Calorimeter("shifted", (Layer.grid("ecal", (2, 2), (20.0, 20.0), (-290.0, -290.0)),))
    with pytest.raises(ValueError, match="layer 'ecal' of 'shifted' is no crop"):
        shifted.crop_of(builtin("lhcb-ecal"))


def test_unknown_geometry():
    with pytest.raises(ValueError, match="no geometry called 'atlas'; choose one of atlas-em-89, atlas-em-247, lhcb-ecal"):
        load("atlas")


XML = """<Bins>
  <Bin pid="22" name="photon">
    <Layer id="0" r_edges="0,5,10" n_bin_alpha="1"/> <Layer id="1" r_edges="0,2,4,6" n_bin_alpha="4"/> <Layer id="2" r_edges="0"/>
  </Bin>
  <Bin pid="211" name="pion"><Layer id="0" r_edges="0,1" n_bin_alpha="1"/></Bin>
</Bins>"""


class TestCaloChallenge:
    @pytest.mark.parametrize(
        ("file", "voxels", "layers"),
        [
            ("binning_dataset_1_photons.xml", 368, 5),
            ("binning_dataset_1_pions.xml", 533, 7),
            ("binning_dataset_2.xml", 6480, 45),
            ("binning_dataset_3.xml", 40500, 45),
        ],
    )
    def test_voxel_counts(self, shared, file, voxels, layers):
        calorimeter = load(f"calochallenge/{file}", shared / "data")
        assert calorimeter.n_cells == voxels
        assert len(calorimeter.layers) == layers
        assert Calorimeter.from_dict(json.loads(json.dumps(calorimeter.to_dict()))) == calorimeter

    def test_voxels_run_first_in_r_then_in_alpha(self, tmp_path):
        """The challenge: first the radial bins of the first angular slice of the first layer, alpha from -pi."""
        path = tmp_path / "bins.xml"
        path.write_text(XML)
        calorimeter = load(f"{path}:photon", "/")
        assert calorimeter.layer_names == ("layer_0", "layer_1")
        assert calorimeter.slices["layer_1"] == slice(2, 14)
        centres = calorimeter.layer("layer_1").centres
        np.testing.assert_allclose(centres[:, 1].reshape(4, 3), np.tile([1, 3, 5], (4, 1)))
        np.testing.assert_allclose(centres[::3, 0], np.array([-0.75, -0.25, 0.25, 0.75]) * math.pi)

    def test_the_particle_is_named_where_there_are_several(self, tmp_path):
        path = tmp_path / "bins.xml"
        path.write_text(XML)
        assert read_calochallenge(path, "pion").n_cells == 1
        for particle in (None, "muon"):
            with pytest.raises(ValueError, match="describes photon, pion; name one of them"):
                read_calochallenge(path, particle)

    @pytest.mark.parametrize("text", ["not xml", "<Bins><Bin name='a'><Layer id='0' r_edges='0,x'/></Bin></Bins>", XML[:200]])
    def test_what_is_no_binning_file(self, tmp_path, text):
        path = tmp_path / "bins.xml"
        path.write_text(text)
        with pytest.raises(ValueError, match=r"bins\.xml is not a CaloChallenge binning file"):
            read_calochallenge(path)

    def test_no_layers_and_no_file(self, tmp_path):
        path = tmp_path / "bins.xml"
        path.write_text("<Bins><Bin name='a'/></Bins>")
        with pytest.raises(ValueError, match="needs layers"):
            read_calochallenge(path)
        with pytest.raises(FileNotFoundError, match=r"there is no geometry file .*none.xml"):
            load("none.xml", tmp_path)


def test_real_showers_follow_the_point_of_impact(shared):
    """Geant4 photons: mean eta and phi move with the entry point, and at phi = 0 two coarse cells share the energy."""
    calorimeter = builtin("atlas-em-247")
    with h5py.File(shared / "geant4" / "atlas_photons.h5") as file:
        hard = file["incident_energies"][:, 0] > 5000
        showers, position = file["showers"][:][hard], file["position"][:][hard]
    middle, energy = calorimeter.layer("middle"), showers[:, calorimeter.slices["middle"]]
    mean = energy @ middle.centres / energy.sum(1, keepdims=True)
    impact = position / 1500.0
    for axis, size in enumerate((0.025, DPHI)):
        assert np.corrcoef(mean[:, axis], impact[:, axis])[0, 1] > 0.85
        assert abs((mean[:, axis] - impact[:, axis]).mean()) < 0.02 * size
    strips, images = calorimeter.layer("strips"), calorimeter.images(showers)["strips"]
    energy = images.sum((1, 2)) + 1e-9  # a photon that converts late leaves nothing here
    offset = images.sum(2) @ strips.centres[::2, 0] / energy - impact[:, 0]
    assert np.median(np.abs(offset)) < 0.003125 / 2
    below, above = {}, {}
    for name, inside in (("at the edge", impact[:, 1] < 0.01 * DPHI), ("at the far edge", impact[:, 1] > 0.95 * DPHI)):
        below[name], above[name] = images[inside].sum(1).mean(0)
    assert 0.6 < below["at the edge"] / above["at the edge"] < 1.1
    assert below["at the far edge"] / above["at the far edge"] < 0.03
