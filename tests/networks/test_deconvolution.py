import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from understudy.deployment.export import OPSET, quiet
from understudy.geometry import Calorimeter, Layer, builtin
from understudy.networks.convolution import Convolution
from understudy.networks.deconvolution import Deconvolution
from understudy.networks.grid import Grid
from understudy.registry import factory

ECAL = builtin("lhcb-ecal")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def grids(*shapes):
    sizes = [(40.0, 20.0)] * len(shapes)
    layers = [Layer.grid(f"l{i}", s, size, (0.0, 0.0)) for i, (s, size) in enumerate(zip(shapes, sizes, strict=True))]
    return Calorimeter("toy", tuple(layers))


def small(kind, geometry, rng=None, **arguments):
    n = geometry.n_cells
    if kind == "deconvolution":
        return Deconvolution(inputs=6, outputs=n, geometry=geometry, **{"channels": (8, 4, 4), "rng": rng} | arguments)
    return Convolution(inputs=n, outputs=1, geometry=geometry, **{"channels": (4, 4, 8), "rng": rng} | arguments)


def test_the_papers_generator_has_its_shapes_and_parameters():
    net = Deconvolution(inputs=512 + 5, outputs=900, geometry=ECAL, rng=generator())
    shapes = [tuple(image.shape[1:]) for image in net.images(torch.zeros(2, 517))]
    assert shapes == [(256, 4, 4), (128, 8, 8), (64, 16, 16), (32, 32, 32), (1, 32, 32)]
    assert net(torch.zeros(2, 517)).shape == (2, 900)
    dense = 517 * 4096 + 4096
    doubled = sum(a * b * 16 + b for a, b in ((256, 128), (128, 64), (64, 32)))
    assert parameters(net) == dense + doubled + 32 * 9 + 1 == 2_810_369


def test_the_papers_critic_mirrors_it():
    net = Convolution(inputs=900, outputs=1, geometry=ECAL, rng=generator())
    shapes = [tuple(image.shape[1:]) for image in net.images(torch.zeros(2, 900))]
    assert shapes == [(32, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4)]
    assert net(torch.zeros(2, 900)).shape == (2, 1)
    halved = sum(a * b * 16 + b for a, b in ((32, 64), (64, 128), (128, 256)))
    assert parameters(net) == 32 * 9 + 32 + halved + 4096 + 1 == 692_993


@pytest.mark.parametrize(
    ("geometry", "doublings", "full"),
    [(ECAL, 3, (32, 32)), (grids((5, 7)), 2, (8, 8)), (grids((16, 4), (16, 4)), 1, (16, 4)), (grids((9, 3)), 3, (16, 8))],
)
def test_cropping_undoes_padding_and_the_border_is_empty(geometry, doublings, full):
    grid = Grid.of(geometry, doublings, None, "a network")
    cells = torch.rand(3, geometry.n_cells, generator=generator()) + 1
    image = grid.pad(cells)
    assert image.shape == (3, len(geometry.layers), *full)
    assert torch.equal(grid.crop(image), cells)
    assert int((image != 0).sum()) == cells.numel()


def test_cells_are_where_the_geometry_has_them():
    geometry = grids((5, 7), (5, 7))
    grid = Grid.of(geometry, 2, None, "a network")
    cells = torch.arange(70.0)[None]
    for i, (name, image) in enumerate(geometry.images(cells.numpy()).items()):
        np.testing.assert_array_equal(grid.pad(cells)[0, i, 1:6, 0:7], image[0], err_msg=name)
    x, y = ECAL.layer("ecal").centres[31]  # the second cell along y in the second row along x
    assert (x, y) == (-270.0, -270.0)
    one = torch.zeros(1, 900)
    one[0, 30] = 1  # one step along x
    assert torch.nonzero(Grid.of(ECAL, 3, None, "a network").pad(one)[0, 0]).tolist() == [[2, 1]]


def test_a_cell_moves_only_the_features_near_it():
    net = Convolution(inputs=900, outputs=1, geometry=ECAL, channels=(2, 3, 4), rng=generator())
    cells = torch.zeros(2, 900)
    cells[1, 12 * 30 + 20] = 1  # image 13, 21 within the border
    for image, scale, reach in zip(net.images(cells), (1, 2, 4), (1, 3, 7), strict=True):
        moved = torch.nonzero((image[1] - image[0]).abs().sum(0) > 0)
        assert len(moved)
        distance = (scale * moved + (scale - 1) / 2 - torch.tensor([13, 21])).abs()
        assert float(distance.max()) <= reach + scale


def test_a_coarse_pixel_reaches_only_the_cells_near_it():
    net = Deconvolution(inputs=6, outputs=900, geometry=ECAL, channels=(4, 3, 2), output="linear", rng=generator())
    impulse = torch.zeros(2, 4, 8, 8)
    impulse[1, :, 3, 5] = 1
    image = impulse
    for layer in net.up:
        image = layer(image).relu()
    moved = torch.nonzero((net.last(image)[1, 0] - net.last(image)[0, 0]).abs() > 0)
    assert moved.min(0).values.tolist() >= [3 * 4 - 5, 5 * 4 - 5]
    assert (moved.max(0).values - moved.min(0).values).max() <= 4 + 2 * 4 + 2


@pytest.mark.parametrize("kind", ["deconvolution", "convolution"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_come_from_the_generator_alone_and_the_layout_changes_nothing(kind, channels_last):
    geometry = grids((5, 7))
    before = torch.get_rng_state()
    a, b = small(kind, geometry, generator(3)), small(kind, geometry, generator(3), channels_last=channels_last)
    assert torch.equal(before, torch.get_rng_state())
    x = torch.randn(4, 6 if kind == "deconvolution" else 35, generator=generator(1))
    torch.testing.assert_close(a(x), b(x))


def test_initial_weights_keep_the_size_of_what_passes_through():
    net = Deconvolution(inputs=300, outputs=900, geometry=ECAL, channels=(64, 64, 64), output="linear", rng=generator())
    with torch.no_grad():
        images = net.images(torch.randn(16, 300, generator=generator(1)))
    for image in images[:-1]:
        assert 0.3 < float(image.square().mean()) < 3
    assert not any(layer.bias.any() for layer in (net.first, *net.up, net.last))


@pytest.mark.parametrize(("init", "fans"), [("he-uniform", 64 * 4), ("glorot-uniform", 64 * 4 + 32 * 16)])
def test_the_fans_of_a_transposed_convolution_are_those_of_one_output(init, fans):
    net = Deconvolution(inputs=3, outputs=900, geometry=ECAL, channels=(64, 32), init=init, rng=generator())
    bound = (6 / fans) ** 0.5
    assert 0.99 * bound < float(net.up[0].weight.detach().abs().max()) <= bound


def test_further_columns_join_before_the_head_and_act_on_the_output():
    geometry = grids((5, 7))
    net = Convolution(inputs=35 + 3, outputs=2, geometry=geometry, channels=(4, 8), head=(16,), rng=generator())
    x = torch.randn(4, 38, generator=generator(1))
    y = x.clone()
    y[:, 35:] += 1
    assert not torch.allclose(net(x), net(y))
    for a, b in zip(net.images(x[:, :35]), net.images(y[:, :35]), strict=True):
        assert torch.equal(a, b)


def test_relu_leaves_cells_exactly_empty():
    made = Deconvolution(inputs=6, outputs=900, geometry=ECAL, channels=(8, 4), rng=generator())(torch.randn(9, 6))
    assert (made >= 0).all()
    assert 0.05 < float((made == 0).float().mean()) < 0.95


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_generator_exported_gives_what_torch_gives(tmp_path, channels_last):
    net = Deconvolution(inputs=517, outputs=900, geometry=ECAL, channels_last=channels_last, rng=generator()).eval()
    batch = torch.export.Dim("batch", min=1)
    with quiet():
        torch.onnx.export(
            net,
            (torch.randn(3, 517),),
            str(tmp_path / "net.onnx"),
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes={"x": {0: batch}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            optimize=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    x = torch.randn(20, 517, generator=generator(4))
    with torch.no_grad():
        expected = net(x).numpy()
    # sums of sums of thousands of terms: on one processor they differ by less than 2e-6, on another by 2.8e-6
    np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_gradient_pass_through_the_critic():
    net = Convolution(inputs=35, outputs=1, geometry=grids((5, 7)), channels=(4, 8), rng=generator())
    x = torch.randn(6, 35, generator=generator(1)).requires_grad_()
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.first.parameters() if p.ndim > 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"geometry": None}, "needs to know where the cells of an image sit; name the geometry"),
        ({"geometry": grids((5, 7), (5, 8))}, "layers of one shape, but 'toy' has l0 5 x 7, l1 5 x 8"),
        ({"start": (3, 4)}, "starts from 3 x 4 and doubles 3 times, which does not cover the 30 x 30 cells of 'lhcb-ecal'"),
    ],
)
@pytest.mark.parametrize("kind", [Deconvolution, Convolution])
def test_what_does_not_fit_the_geometry_is_named(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"inputs": 900, "outputs": 900, "geometry": ECAL, **arguments})


def test_numbers_that_do_not_fit_the_image_are_named():
    with pytest.raises(ValueError, match="makes the 900 cells of its geometry, but 901 numbers"):
        Deconvolution(inputs=5, outputs=901, geometry=ECAL)
    with pytest.raises(ValueError, match="looks at the 900 cells of its geometry, but is given 899"):
        Convolution(inputs=899, outputs=1, geometry=ECAL)
    with pytest.raises(ValueError, match=r"5 numbers besides its image.*head: \[128\]"):
        Convolution(inputs=905, outputs=1, geometry=ECAL)
    with pytest.raises(ValueError, match="channels"):
        factory("networks", {"kind": "convolution", "channels": []}, "model.critic")
    assert isinstance(factory("networks", "deconvolution")(inputs=3, outputs=900, geometry=ECAL), nn.Module)
