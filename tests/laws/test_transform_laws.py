"""What holds for every registered transform; a new one is tested as soon as it is registered."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from understudy import registry
from understudy.geometry import builtin
from understudy.hcal_geometry import pixel_caps
from understudy.references.rich import RichSimulator, TrackGun
from understudy.schema import Block, Schema
from understudy.transforms.base import Chain, Transform

GEOMETRY = builtin("atlas-em-89")
SCHEMA = Schema(
    (Block("incident_energy", "MeV", minimum=0), Block("total_energy", "MeV", derived=True), Block("eta")),
    (Block("showers", "MeV", shape=(89,), minimum=0),),
)
Sample = tuple[Tensor, dict[str, Tensor]]
EVENTS = 64


def conditions_of(response: Tensor) -> dict[str, Tensor]:
    total = response.clamp(min=0).sum(1)
    known = {"incident_energy": 1.25 * total, "total_energy": total, "eta": torch.linspace(0, 1, len(response))}
    if response.shape[1] == GEOMETRY.n_cells:
        known["layer_energies"] = torch.stack([response[:, s].double().sum(1) for s in GEOMETRY.slices.values()], 1).float()
    return known


def showers(generator: torch.Generator, n: int = EVENTS) -> Sample:
    """Energies over the whole range from 1e-3 to 1e5 MeV, exact zeros, empty layers and an empty event."""
    cells = 10 ** (8 * torch.rand(n, 89, generator=generator) - 3)
    cells = torch.where(torch.rand(n, 89, generator=generator) < 0.3, 0.0, cells)
    cells[0] = 0
    cells[1, GEOMETRY.slices["middle"]] = 0
    cells[2, : GEOMETRY.slices["back"].start] = 0
    cells[3, GEOMETRY.slices["back"]] = 0
    return cells, conditions_of(cells)


def fractions(generator: torch.Generator, n: int = EVENTS) -> Sample:
    """Fractions with the exact ends 0 and 1."""
    x = torch.rand(n, 89, generator=generator) ** 8
    x[:, :5], x[:, 5:8] = 0, 1
    return x, conditions_of(x)


def all_positive(generator: torch.Generator, n: int = EVENTS) -> Sample:
    x = showers(generator, n)[0].clamp(min=1e-3)
    return x, conditions_of(x)


MOVING = replace(SCHEMA, response=(Block("time", "ns"), Block("momentum", "MeV", shape=(3,)), Block("position", shape=(2,))))


def momenta(generator: torch.Generator, n: int = EVENTS) -> Sample:
    """A time, a forward-going momentum of 1 MeV to 1 TeV, and a position."""
    pz = 10 ** (6 * torch.rand(n, 1, generator=generator))
    slopes = 0.3 * torch.randn(n, 2, generator=generator)
    x = torch.cat([torch.rand(n, 1, generator=generator), slopes * pz, pz, torch.randn(n, 2, generator=generator)], 1)
    return x, conditions_of(x)


def likelihoods(generator: torch.Generator, n: int = EVENTS) -> Sample:
    """Log-likelihood differences of either sign."""
    x = 20 * torch.randn(n, 6, generator=generator)
    return x, conditions_of(x)


RICH = RichSimulator().schema
REGRESSED = {"knots": 16, "along": "momentum", "nodes": 8, "classes": ("species",), "edges": {"pseudorapidity": (2.8122, 4.382)}}


def ring_tracks(generator: torch.Generator, n: int = EVENTS) -> Sample:
    """DLLs of tracks in the RICH."""
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    made = RichSimulator().simulate(TrackGun().draw(n, rng), rng)
    known = {name: torch.tensor(np.asarray(values, np.float32)) for name, values in made.conditions.items()}
    return torch.tensor(made["dll"]), known


def relative(x: Tensor, rtol: float = 1e-5) -> Tensor:
    return rtol * x.abs()


LAYERED = replace(SCHEMA, conditions=(*SCHEMA.conditions, Block("layer_energies", "MeV", shape=(4,), derived=True)))
CUTS = {"presampler": 120.0, "strips": 60.0, "middle": 200.0, "back": 200.0}


def thresholded(generator: torch.Generator, n: int = EVENTS) -> Sample:
    """Cells of 1e-3 to 1e5 MeV, those below the thresholds at zero, and the energies of their layers."""
    cells, _ = showers(generator, n)
    cells = torch.where(cells < torch.as_tensor(GEOMETRY.per_layer(CUTS), dtype=torch.float32), 0.0, cells)
    return cells, conditions_of(cells)


def layers(generator: torch.Generator, n: int = EVENTS) -> Sample:
    """Energies of layers, the middle holding most; some are empty, all but the middle, or the middle alone."""
    parts = torch.tensor([120.0, 60.0, 2e4, 200.0]) * 10 ** torch.rand(n, 4, generator=generator)
    parts[::7, 0], parts[::5, 3], parts[1], parts[3::11, 2] = 0, 0, torch.tensor([0.0, 0.0, 5e4, 0.0]), 0
    return parts, conditions_of(parts)


def tracks(generator: torch.Generator, n: int = EVENTS) -> Sample:
    """A momentum that is smeared and a direction that is not."""
    pt, direction = 1000 * torch.rand(n, generator=generator) + 1, torch.randn(n, generator=generator)
    return torch.stack([2 * pt, direction], 1), {"incident_energy": pt, "total_energy": direction}


def single_tracks(generator: torch.Generator, n: int = EVENTS) -> Sample:
    """Images with energy in the 3 x 3 inner cells around a track, and in none else."""
    column = torch.randint(20, 44, (n,), generator=generator)
    row = torch.where(torch.rand(n, generator=generator) < 0.5, 16, 34) + torch.randint(0, 3, (n,), generator=generator)
    image = torch.zeros(n, 52, 64)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            image[torch.arange(n), row + dy, column + dx] = 24 + 1000 * torch.rand(n, generator=generator)
    place = torch.stack([column - 31.5, row - 25.5], 1) + 0.9 * (torch.rand(n, 2, generator=generator) - 0.5)
    return image.flatten(1), {"position": 131.3 * place, "et": image.sum((1, 2))}


PIONS = Schema((Block("position", "mm", shape=(2,)), Block("et", "MeV")), (Block("cells", "MeV", shape=(3328,), minimum=0.0),))
TRACKS = Schema((Block("incident_energy"), Block("total_energy")), (Block("smeared"), Block("passed")))
MARGINALS = {"features": {"total_energy": "standardise"}, "layers": 1, "width": 16, "epochs": 3, "batch_size": 16}


def images(generator: torch.Generator, n: int = 24) -> Sample:
    """Images of the LHCb HCAL: empty pixels, some at the threshold, others up to the cap; a quarter where cells are split."""
    largest = torch.tensor(pixel_caps()).flatten()
    x = largest * 255 ** -torch.rand(n, len(largest), generator=generator)
    x = torch.where(torch.rand(x.shape, generator=generator) < 0.8, 0.0, x)
    x[:, ::500], x[:, 1::500] = largest[::500], largest[1::500] / 255
    return x, conditions_of(x)


@dataclass(frozen=True)
class Example:
    """A transform of the registry with arguments, a sample it is made for, and how exact its round trip is.

    `export` is False where another example of the kind gives the same graph: an export takes a second. What a network learns
    depends on the order of the events, and shrinkage on their number: without `exact_weights`, other tests say what weights do.
    """

    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    draw: Callable[..., Sample] = showers
    tolerance: Callable[[Tensor], Tensor] = relative
    export: bool = True
    schema: Schema = SCHEMA
    exact_weights: bool = True
    events: int = EVENTS

    def build(self) -> Transform:
        made = registry.factory("transforms", {"kind": self.kind, **self.arguments})(geometry=GEOMETRY, schema=self.schema)
        assert isinstance(made, Transform)
        return made

    def fitted(self, seed: int = 1) -> tuple[Transform, Tensor, dict[str, Tensor]]:
        x, c = self.sample(seed)
        return self.build().fit(x, c), x, c

    def sample(self, seed: int, n: int | None = None) -> Sample:
        return self.draw(torch.Generator().manual_seed(seed), n or self.events)


# Rounding in float32: relative to each value; or to the shift, for values below it; or to the largest of a column, of all
# numbers, or to the event's sum.
KNOWN = (
    Example("standardise", {}, showers, lambda x: 1e-6 * x.abs().amax(0, keepdim=True)),
    Example("standardise", {"per": "all"}, showers, lambda x: 1e-6 * x.abs().max(), export=False),
    Example("log", {"shift": 1.0}),
    Example("log", {"shift": 1e-3}, export=False),
    Example("log", {"shift": 0.0}, all_positive),
    Example("logit", {}, fractions, lambda x: relative(x, 3e-6) + 1e-12),
    Example("logit", {"alpha": 1e-3}, fractions, lambda x: relative(x, 3e-6) + 1e-9, export=False),
    Example("pixels", {}, fractions, lambda x: 1e-7 + 0 * x),
    Example("box-cox", {}),
    Example("box-cox", {"shift": 1e-2, "per": "component"}, export=False),
    Example("box-cox", {"power": 0.0}),
    Example("box-cox", {"power": 0.25}, export=False),
    Example("box-cox", {"shift": 0.1, "of": "positive"}, export=False),
    Example("direction", {}, momenta, lambda x: 3e-6 * x[:, 1:4].norm(dim=1, keepdim=True) + 1e-6, True, MOVING),
    Example("divide-by-energy", {"by": "total_energy", "scale": 0.1}),
    Example("over-threshold", {"thresholds": CUTS}, thresholded, lambda x: 3e-6 * x.sum(1, keepdim=True), True, LAYERED),
    Example(
        "over-threshold", {"thresholds": CUTS, "power": 0.25}, thresholded, lambda x: 5e-6 * x.sum(1, keepdim=True), True, LAYERED
    ),
    Example(
        "over-threshold",
        {"thresholds": CUTS, "hits": "kept"},
        thresholded,
        lambda x: 3e-6 * x.sum(1, keepdim=True),
        True,
        LAYERED,
    ),
    Example("layer-energies", {"thresholds": CUTS}, layers, lambda x: 3e-6 * x.sum(1, keepdim=True)),
    Example("layer-fractions", {}, showers, lambda x: 1e-6 * x.sum(1, keepdim=True)),
    Example("whiten", {}, showers, lambda x: 3e-6 * x.abs().max(), exact_weights=False, events=320),
    Example("whiten", {"standard": True}, fractions, lambda x: 1e-5 + 0 * x, exact_weights=False, events=320, export=False),
    Example(
        "conditional-marginals",
        {**MARGINALS, "thresholds": CUTS, "energy_bins": 2},
        thresholded,
        lambda x: 1e-3 * x.abs(),
        True,
        LAYERED,
        False,
    ),
    Example(
        "conditional-marginals",
        {**MARGINALS, "impute": 0, "energy_bins": 1},
        fractions,
        lambda x: 2e-4 + 0 * x,
        exact_weights=False,
    ),
    Example(
        "hcal-window", {"reach": 2}, single_tracks, export=False, schema=PIONS, exact_weights=False
    ),  # its recipe is exported
    Example("pass-through", {"blocks": {"passed": "total_energy"}}, tracks, lambda x: 0 * x, True, TRACKS, False),
    Example("log-likelihoods", {"knots": 16}, ring_tracks, lambda x: 3e-6 * x.abs().amax(0, keepdim=True), False, RICH, False),
    Example("log-likelihoods", REGRESSED, ring_tracks, lambda x: 1e-5 * x.abs().amax(0, keepdim=True), False, RICH, False),
    Example("hcal-scale", {"form": "log"}, images, events=24),
    Example("hcal-scale", {"form": "linear"}, images, events=24, export=False),
    Example("hcal-scale", {"form": "power"}, images, events=24, export=False),
    Example("quantile", {}, likelihoods, lambda x: 3e-6 * x.abs().amax(0, keepdim=True), True, MOVING, False),
    Example("quantile", {"knots": 8}, showers, lambda x: 3e-6 * x.abs().amax(0, keepdim=True), exact_weights=False, export=False),
    Example("layer-fractions", {"by": "total_energy"}, showers, lambda x: 1e-6 * x.sum(1, keepdim=True), export=False),
)


def examples() -> list[Example]:
    named = {e.kind for e in KNOWN}
    return [*KNOWN, *(Example(kind) for kind in registry.kinds("transforms") if kind not in named)]


def label(example: Example) -> str:
    return "-".join([example.kind, *(f"{k}={v}" for k, v in example.arguments.items())])


every = pytest.mark.parametrize("example", examples(), ids=label)
weighted_exactly = pytest.mark.parametrize("example", [e for e in examples() if e.exact_weights], ids=label)


@every
def test_can_be_built_from_a_recipe(example: Example) -> None:
    try:
        example.build()
    except ValueError as error:
        pytest.fail(f"{example.kind} cannot be built without arguments ({error}); add an Example for it to KNOWN")


@every
def test_inverse_undoes_forward(example: Example) -> None:
    transform, x, c = example.fitted()
    back = transform.inverse(transform(x, c), c)
    assert back.dtype == torch.float32
    excess = (back - x).abs() - example.tolerance(x)
    assert float(excess.max()) <= 0, f"off by {float((back - x).abs().max())} where {float(x.flatten()[excess.argmax()])} went in"


@every
def test_output_size_and_finite_values(example: Example) -> None:
    transform, x, c = example.fitted()
    y = transform(x, c)
    assert y.shape == (len(x), transform.output_size(x.shape[1]))
    assert bool(y.isfinite().all())
    assert transform(x[:0], {k: v[:0] for k, v in c.items()}).shape == (0, y.shape[1])


@every
def test_events_beyond_the_training_sample_stay_finite(example: Example) -> None:
    transform, x, c = example.fitted()
    other, known = example.sample(2)
    assert bool(transform(other * 1.5, known).isfinite().all())
    wild = 30 * torch.randn(len(x), transform.output_size(x.shape[1]), generator=torch.Generator().manual_seed(3))
    assert bool(transform.inverse(wild, c).isfinite().all())


@every
def test_one_event_at_a_time_gives_the_same(example: Example) -> None:
    transform, x, c = example.fitted()
    one = slice(5, 6)
    alone = {k: v[one] for k, v in c.items()}
    torch.testing.assert_close(transform(x[one], alone), transform(x, c)[one], rtol=1e-6, atol=5e-6)


@every
def test_gradients_of_the_inverse_are_finite(example: Example) -> None:
    transform, x, c = example.fitted()
    y = transform(x, c).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(transform.inverse(y, c).sum(), y)
    assert bool(gradient.isfinite().all())


@every
def test_unfitted_use_raises(example: Example) -> None:
    x, c = example.sample(1)
    with pytest.raises(RuntimeError, match="before it was fitted"):
        example.build()(x, c)
    with pytest.raises(RuntimeError, match="before it was fitted"):
        example.build().inverse(x, c)


@every
def test_bad_training_samples_are_refused(example: Example) -> None:
    x, c = example.sample(1)
    with pytest.raises(ValueError, match="zero events"):
        example.build().fit(x[:0], {k: v[:0] for k, v in c.items()})
    with pytest.raises(ValueError, match="sum to"):
        example.build().fit(x, c, torch.zeros(len(x)))
    with pytest.raises(ValueError, match="the weights have shape"):
        example.build().fit(x, c, torch.ones(3))


@weighted_exactly
def test_weight_two_is_the_event_twice(example: Example) -> None:
    x, c = example.sample(1)
    twice = torch.arange(len(x)) % 3 == 0
    weighted = example.build().fit(x, c, 1.0 + twice.float())
    index = torch.cat([torch.arange(len(x)), torch.where(twice)[0]])
    repeated = example.build().fit(x[index], {k: v[index] for k, v in c.items()})
    torch.testing.assert_close(weighted(x, c), repeated(x, c), rtol=1e-4, atol=1e-4)


@weighted_exactly
def test_negative_weights_cancel_background(example: Example) -> None:
    """A background within the signal's range, which is what is guarded, leaves no trace once it is subtracted."""
    signal, c = example.sample(1)
    background = torch.minimum(example.sample(2, 20)[0], signal.amax(0))
    of_background = conditions_of(background)
    both = torch.cat([signal, background, background])
    known = {k: torch.cat([c[k], of_background[k], of_background[k]]) for k in c}
    weights = torch.cat([torch.ones(len(signal)), torch.ones(20), -torch.ones(20)])
    cancelled = example.build().fit(both, known, weights)
    torch.testing.assert_close(cancelled(signal, c), example.build().fit(signal, c)(signal, c), rtol=1e-4, atol=1e-4)


@every
def test_a_fresh_object_is_filled_from_a_file(example: Example) -> None:
    transform, x, c = example.fitted()
    stored = safetensors.torch.load(safetensors.torch.save(Chain([transform]).fit(x, c).state_dict()))
    fresh = Chain([example.build()])
    fresh.load_state_dict(stored)
    y = transform(x, c)
    assert torch.equal(fresh(x, c), y)
    assert torch.equal(fresh.inverse(y, c), transform.inverse(y, c))


@every
def test_every_tensor_lives_where_the_module_lives(example: Example) -> None:
    """On the meta device, mixing in a tensor made on the CPU is an error."""
    transform, x, c = example.fitted()
    size = transform.output_size(x.shape[1])
    transform.to("meta")
    elsewhere = {k: v.to("meta") for k, v in c.items()}
    if example.kind != "conditional-marginals":  # its random numbers are those of the events, which have none there
        assert transform(x.to("meta"), elsewhere).device.type == "meta"
    assert transform.inverse(torch.empty(3, size, device="meta"), {k: v[:3] for k, v in elsewhere.items()}).device.type == "meta"


class Inverse(nn.Module):
    """The inverse alone, with the conditions as named inputs."""

    def __init__(self, transform: Transform, first: str = "incident_energy") -> None:
        super().__init__()
        self.transform = transform
        self.first = first

    def forward(self, y: Tensor, first: Tensor, total_energy: Tensor) -> Tensor:
        return self.transform.inverse(y, {self.first: first, "total_energy": total_energy})


def exported(module: nn.Module, inputs: tuple[Tensor, ...]) -> onnxruntime.InferenceSession:
    """Exported as it is: the exporter's own optimiser drops factors within 1e-5 of 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(), inputs, dynamo=True, optimize=False, verbose=False, dynamic_shapes=tuple({0: "n"} for _ in inputs)
        )
    assert program is not None
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def agree(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """ONNX Runtime gives what torch gives, within 1e-5, relative or absolute [MeV]."""
    session = exported(module, tuple(v[:7] for v in inputs))
    names = [i.name for i in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, (v.numpy() for v in inputs), strict=True)))
    expected = module(*inputs).numpy()
    assert found.shape == expected.shape
    np.testing.assert_array_less(np.abs(found - expected), 1e-5 * np.maximum(np.abs(expected), 1.0))


@pytest.mark.parametrize("example", [e for e in examples() if e.export], ids=label)
def test_the_exported_inverse_agrees(example: Example) -> None:
    transform, x, c = example.fitted()
    first = "incident_energy" if example.schema is not LAYERED else "layer_energies"
    agree(Inverse(transform, first), (transform(x, c), c[first], c["total_energy"]))


def chain() -> Chain:
    recipe = [{"kind": "layer-fractions"}, {"kind": "logit"}, {"kind": "standardise"}]
    return Chain([registry.factory("transforms", r)(geometry=GEOMETRY, schema=SCHEMA) for r in recipe])


def test_a_chain_composes_sizes_and_round_trips() -> None:
    x, c = showers(torch.Generator().manual_seed(1))
    whole = chain().fit(x, c)
    assert whole.output_size(89) == 93
    y = whole(x, c)
    assert y.shape == (len(x), 93)
    torch.testing.assert_close(y[4:].mean(0), torch.zeros(93), atol=0.5, rtol=0)
    excess = (whole.inverse(y, c) - x).abs() - 1e-5 * x.sum(1, keepdim=True)
    assert float(excess.max()) <= 0


def test_an_exported_chain_agrees() -> None:
    """Fractions of 1e-6 times energies of 1e5 MeV: the product has to agree, cell by cell."""
    x, c = showers(torch.Generator().manual_seed(1))
    whole = chain().fit(x, c)
    agree(Inverse(whole), (whole(x, c), c["incident_energy"], c["total_energy"]))


def test_a_chain_is_filled_from_a_file_and_keeps_its_shapes() -> None:
    x, c = showers(torch.Generator().manual_seed(1))
    whole = chain().fit(x, c)
    fresh = chain()
    with pytest.raises(RuntimeError, match="before it was fitted"):
        fresh(x, c)
    fresh.load_state_dict(whole.state_dict())
    assert torch.equal(fresh(x, c), whole(x, c))
    fresh.load_state_dict(chain().fit(*showers(torch.Generator().manual_seed(5))).state_dict())
    assert not torch.equal(fresh(x, c), whole(x, c))
    other = Chain([registry.factory("transforms", "standardise")()]).fit(x[:, :10], c)
    wrong = Chain([registry.factory("transforms", "standardise")()]).fit(x, c)
    with pytest.raises(RuntimeError, match="size mismatch"):
        wrong.load_state_dict(other.state_dict())


def test_an_unfitted_state_stays_unfitted() -> None:
    fresh = chain()
    fresh.load_state_dict(chain().state_dict())
    with pytest.raises(RuntimeError, match="before it was fitted"):
        fresh(*showers(torch.Generator().manual_seed(1)))
