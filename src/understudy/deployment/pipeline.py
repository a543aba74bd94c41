"""A two-step simulation as one graph: tracks and the event of each in, images of tracks, their sum, its refinement out.

`pipeline.onnx` of a bundle whose recipe has `propagate` takes

    noise (n, k), track_noise (t, j)        standard normal
    position (t, 2) [mm], et (t,) [MeV]     all tracks of all events, one after the other
    event (t,)                              the event that a track belongs to, 0 to n - 1

and gives `response` `(n, 3328)` and `stp_image` `(n, 3328)` [MeV], the capped sum that was refined. An event without tracks has
no row among the tracks, and an empty image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from understudy import hcal_geometry as hcal
from understudy.deployment.export import OPSET, quiet
from understudy.events import Events
from understudy.files import atomic_path
from understudy.propagation import by_track, check_propagator
from understudy.schema import Array, Schema
from understudy.surrogate import Surrogate

PIPELINE = "pipeline.onnx"
INPUTS = ("noise", "track_noise", "position", "et", "event")
AGREES = 1e-3
"""Part of the summed energies that graph and torch may differ by: cells at a threshold fall to either side by rounding."""


class Pipeline(nn.Module):
    """Both steps.

    Args:
        tracks: the stand-in of single tracks.
        refine: the stand-in from the sum of their images to the response.
    """

    largest: Tensor

    def __init__(self, tracks: Surrogate, refine: Surrogate) -> None:
        super().__init__()
        check_propagator(tracks)
        self.tracks, self.refine = tracks, refine
        self.register_buffer("largest", torch.tensor(hcal.pixel_caps()).flatten(), persistent=False)

    def forward(self, noise: Tensor, track_noise: Tensor, position: Tensor, et: Tensor, event: Tensor) -> tuple[Tensor, Tensor]:
        """The response and the sum that it was refined from, `(n, 3328)` each."""
        cells = self.tracks(track_noise, {"position": position, "et": et})
        summed = noise.new_zeros((noise.shape[0], hcal.N_PIXELS)).index_add(0, event, cells)
        image = torch.minimum(summed, self.largest)
        return self.refine(noise, {hcal.STP_IMAGE.name: image.reshape(-1, *hcal.SHAPE)}) + 0.0, image


def export_pipeline(pipeline: Pipeline, folder: Path) -> Path:
    """Export both steps as one graph into `folder`; see that it gives what torch gives.

    Raises:
        RuntimeError: it does not.
    """
    rng = np.random.default_rng(0)
    inputs = pipeline_inputs(pipeline.tracks, pipeline.refine, _example(rng), rng)
    event, track = torch.export.Dim("batch", min=1), torch.export.Dim("tracks", min=1)
    path = folder / PIPELINE
    with quiet(), atomic_path(path) as partial:
        torch.onnx.export(
            pipeline.eval(),
            tuple(torch.from_numpy(inputs[name]) for name in INPUTS),
            str(partial),
            input_names=list(INPUTS),
            output_names=["response", hcal.STP_IMAGE.name],
            dynamic_shapes={name: {0: event if name == "noise" else track} for name in INPUTS},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            optimize=False,
            verbose=False,
        )
    _check(pipeline, path)
    return path


def _check(pipeline: Pipeline, path: Path) -> None:
    rng = np.random.default_rng(1)
    inputs = pipeline_inputs(pipeline.tracks, pipeline.refine, _example(rng, 40), rng)
    with torch.inference_mode():
        expected = [x.numpy() for x in pipeline(*(torch.from_numpy(inputs[name]) for name in INPUTS))]
    found = _session(path, 1).run(["response", hcal.STP_IMAGE.name], inputs)
    for name, mine, theirs in zip(("response", hcal.STP_IMAGE.name), expected, found, strict=True):
        apart = float(np.abs(mine - theirs).sum() / max(float(np.abs(mine).sum()), 1.0))
        if not apart <= AGREES:
            raise RuntimeError(f"the exported pipeline's {name} differs from torch by {apart:.2g}, more than {AGREES:g}")


def pipeline_inputs(tracks: Any, refine: Any, given: Any, rng: np.random.Generator) -> dict[str, Array]:
    """The graph's inputs for lists of tracks (x, y, et) of each event.

    Raises:
        ValueError: a track has other than three numbers, a negative energy, or misses the calorimeter.
    """
    counts, items = hcal.flat_tracks(given)
    hcal.check_tracks(items, counts)
    return {
        "noise": rng.standard_normal((len(counts), refine.noise_size), dtype=np.float32),
        "track_noise": rng.standard_normal((len(items), tracks.noise_size), dtype=np.float32),
        **by_track(items),
        "event": np.repeat(np.arange(len(counts)), counts).astype(np.int64),
    }


def _example(rng: np.random.Generator, events: int = 3) -> Any:
    import awkward

    counts = rng.integers(1, 6, events)
    x, y = (rng.uniform(800, 3000, counts.sum()) for _ in range(2))
    return awkward.unflatten(np.stack([x, y, rng.uniform(200, 4000, counts.sum())], 1), counts)


def _session(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class TrackPipeline:
    """A bundle's pipeline as a Simulator of whole events: `tracks` in, the response out, `stp_image` as aux.

    Args:
        folder: the bundle.
        manifest: its manifest.
        threads: threads of ONNX Runtime; all cores if None.

    Raises:
        FileNotFoundError: the bundle has no pipeline.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], threads: int | None = None) -> None:
        if PIPELINE not in manifest["files"]:
            raise FileNotFoundError(f"{folder} has no {PIPELINE}; only bundles whose recipe has 'propagate' start from tracks")
        self._session = _session(folder / PIPELINE, threads)
        self._sizes = {i.name: i.shape[1] for i in self._session.get_inputs() if i.name in ("noise", "track_noise")}
        self.schema = Schema((hcal.TRACKS,), Schema.from_dict(manifest["schema"]).response)

    def simulate(self, conditions: Mapping[str, Any], generator: np.random.Generator, chunk: int = 500) -> Events:
        """Simulate every event of `conditions["tracks"]` once, `chunk` events at a time."""
        tracks = self.schema.conditions[0].check(conditions[hcal.TRACKS.name], len(conditions[hcal.TRACKS.name]), "conditions")
        sizes = (_Sized(self._sizes["track_noise"]), _Sized(self._sizes["noise"]))
        cells, images = [], []
        for start in range(0, len(tracks), chunk):
            made = self._session.run(None, pipeline_inputs(*sizes, tracks[start : start + chunk], generator))
            cells.append(made[0])
            images.append(made[1])
        response = {self.schema.response[0].name: np.concatenate(cells)}
        schema = Schema(self.schema.conditions, self.schema.response, (hcal.STP_IMAGE,))
        aux = {hcal.STP_IMAGE.name: np.concatenate(images).reshape(-1, *hcal.SHAPE)}
        return Events(schema, {hcal.TRACKS.name: tracks}, response, aux=aux, where="simulated events")


class _Sized:
    """Something with a length of noise."""

    def __init__(self, noise_size: int) -> None:
        self.noise_size = noise_size


def load_pipeline(path: str | Path, threads: int | None = None) -> TrackPipeline:
    """Load a bundle's pipeline, its checksums verified.

    Args:
        path: the bundle's directory, or a run's directory that holds `bundle/`.
        threads: threads of ONNX Runtime; all cores if None.

    Raises:
        FileNotFoundError: no bundle there, or one without a pipeline.
        ValueError: a file is missing or changed.
    """
    from understudy.deployment.bundle import verify  # which writes pipelines
    from understudy.rundir import MANIFEST, read_manifest

    folder = Path(path)
    folder = folder / "bundle" if (folder / "bundle" / MANIFEST).is_file() else folder
    manifest = read_manifest(folder)
    verify(folder, manifest)
    return TrackPipeline(folder, manifest, threads)
