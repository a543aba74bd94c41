from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import understudy
from understudy.deployment.bundle import load_bundle
from understudy.domain import OutOfDomainWarning
from understudy.files import sha256

FILES = {"surrogate.onnx", "response.onnx", "weights.safetensors", "recipe.yaml", "metrics.json", "card.md"}


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def given(events):
    return dict(events.without_response().conditions)


def test_a_bundle_holds_what_it_says_with_checksums(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert set(manifest["files"]) == FILES
    assert all(sha256(bundle / name) == digest for name, digest in manifest["files"].items())
    assert manifest["parity"]["largest_difference"] <= 1e-5
    assert manifest["versions"]["torch"]
    assert "incident_energy" in (bundle / "card.md").read_text()


def test_torch_and_onnx_give_the_same_showers_from_the_same_generator(bundle, events):
    loaded = understudy.load_bundle(bundle)
    torch_twin = load_bundle(bundle, engine="torch")
    ours = loaded.simulate(given(events), np.random.default_rng(7))
    theirs = torch_twin.simulate(given(events), np.random.default_rng(7))
    close = np.isclose(ours["showers"], theirs["showers"], rtol=1e-5, atol=1e-5)
    assert close.mean() > 0.9999  # a cell at a threshold may flip
    assert (ours["showers"] >= 0).all()


def test_thresholds_are_applied(bundle, events):
    images = load_bundle(bundle).geometry.images(load_bundle(bundle).simulate(given(events), np.random.default_rng(7))["showers"])
    for layer, cut in {"presampler": 120, "strips": 60, "middle": 200, "back": 200}.items():
        cells = images[layer]
        assert ((cells == 0) | (cells >= cut)).all(), layer


def test_the_cells_sum_to_a_given_energy_sum_up_to_the_thresholds(bundle, events):
    known = dict(events.conditions)
    session = {inputs: s for inputs, _, s in load_bundle(bundle).sessions}[frozenset(known)]
    noise = np.random.default_rng(1).standard_normal((len(events), 100), dtype=np.float32)
    _, unprojected = session.run(noise, known)
    np.testing.assert_allclose(unprojected.sum(1), known["total_energy"], rtol=1e-4)


def test_chunks_do_not_matter(bundle, events):
    loaded = load_bundle(bundle)
    whole = loaded.simulate(given(events), np.random.default_rng(7), chunk=1000)
    parts = loaded.simulate(given(events), np.random.default_rng(7), chunk=7)
    close = np.isclose(whole["showers"], parts["showers"], rtol=1e-5, atol=1e-5)
    assert close.mean() > 0.9999


def test_a_run_directory_is_as_good_as_its_bundle(bundle, events):
    assert load_bundle(bundle.parent).manifest == load_bundle(bundle).manifest


def test_outside_the_domain_is_a_warning_and_a_flag(bundle, events):
    conditions = {k: np.array(v[:3]) for k, v in given(events).items()}
    conditions["incident_energy"][1] = 5e6
    with pytest.warns(OutOfDomainWarning, match="1 of 3 events have incident_energy outside the trained range .* MeV"):
        out = load_bundle(bundle).simulate(conditions, np.random.default_rng(0))
    np.testing.assert_array_equal(out["out_of_domain"], [0, 1, 0])
    assert np.isfinite(out["showers"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("position"), "the conditions lack position"),
        (lambda c: c.update(eta=np.zeros(3)), "unknown condition eta"),
        (lambda c: c.update(position=np.zeros((3, 3))), "'position' has shape"),
        (lambda c: c.update(incident_energy=np.array([1e4, np.nan, 1e4])), "NaN or infinity, first in event 1"),
        (lambda c: c.update(incident_energy=np.array([1e4, -5.0, 1e4])), "below its minimum"),
    ],
)
@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_wrong_conditions_are_one_sentence(bundle, events, change, message, engine):
    conditions = {k: np.array(v[:3]) for k, v in given(events).items()}
    change(conditions)
    with pytest.raises(ValueError, match=message):
        load_bundle(bundle, engine=engine).simulate(conditions, np.random.default_rng(0))


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_file_is_refused(copy, name):
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ValueError, match=f"{name} differs from its checksum"):
        load_bundle(copy)


def test_a_missing_file_and_a_missing_or_torn_manifest_are_refused(copy):
    (copy / "response.onnx").unlink()
    with pytest.raises(ValueError, match=r"lacks response\.onnx"):
        load_bundle(copy)
    (copy / "manifest.json").write_text('{"format": 1, "kind":')
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        load_bundle(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="neither a finished run nor a bundle"):
        load_bundle(copy)


def test_a_manifest_cannot_name_files_outside_the_bundle(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["../secret"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"lacks \.\./secret"):
        load_bundle(copy)


def test_parity_is_judged_at_conditions_that_were_seen(surrogate, recipe, graphs, events, tmp_path, monkeypatch):
    from understudy.deployment import bundle as module

    judged = []
    check = module.check_parity
    monkeypatch.setattr(
        module, "check_parity", lambda s, g, conditions, rng: judged.append(conditions) or check(s, g, conditions, rng)
    )
    module.write_bundle(tmp_path / "bundle", surrogate, recipe, graphs, asked=events)
    (asked,) = judged
    assert len(asked) == module.COMPARED > len(events)  # again and again, with other noise
    np.testing.assert_array_equal(asked["position"][: len(events)], events["position"])
    assert [b.name for b in asked.schema.conditions] == [b.name for b in events.schema.given]


def test_some_training_conditions_wait_beside_a_trained_surrogate(surrogate, events, tmp_path):
    from understudy.deployment import bundle as module

    (tmp_path / "checkpoints").mkdir()
    assert module.read_asked(tmp_path, surrogate) is None
    module.write_trained(tmp_path / "checkpoints", surrogate, {}, events)
    kept = module.read_asked(tmp_path, surrogate)
    np.testing.assert_array_equal(kept["incident_energy"], module.compared(events)["incident_energy"])


def test_a_half_written_bundle_leaves_the_earlier_one(bundle, copy, surrogate, recipe, monkeypatch):
    from understudy.deployment import bundle as module
    from understudy.deployment.export import Graph

    before = (copy / "manifest.json").read_text()
    graphs = [Graph(bundle / "surrogate.onnx", ("incident_energy", "position"), (0, 101))]

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_weights", full_disk)
    with pytest.raises(OSError, match="disk is full"):
        module.write_bundle(copy, surrogate, recipe, graphs)
    assert (copy / "manifest.json").read_text() == before
    load_bundle(copy)
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]
