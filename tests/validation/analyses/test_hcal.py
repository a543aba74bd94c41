"""The analyses of HCAL images: trigger, images, gallery and variety, against closed forms and readable twins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from understudy import hcal_geometry as hcal
from understudy.events import Events
from understudy.geometry import builtin
from understudy.references.hcal_events import SIGNAL, SIGNAL_ET, jagged, lhcb_hcal_events
from understudy.references.hcal_pions import lhcb_hcal_pions
from understudy.registry import factory
from understudy.schema import Schema
from understudy.validation.analyses.base import Samples
from understudy.validation.analyses.hcal_gallery import panels
from understudy.validation.analyses.hcal_trigger import binomial
from understudy.validation.analyses.hcal_variety import alike
from understudy.validation.hcal_images import active_cells, centre_of_energy, maximum_et, total_et, tracks_of
from understudy.validation.hcal_trigger import decisions, drawn_tracks, signal_squares, window_sums


def rng(seed=1):
    return np.random.default_rng(seed)


def x_of(column):
    return (column - 31.5) * hcal.CELL


def y_of(row):
    return (row - 25.5) * hcal.CELL


def signal_at(*pixels):
    """One event's signal tracks in pixels (row, column)."""
    return [[[x_of(c), y_of(r), 1000.0] for r, c in pixels]]


@pytest.fixture(scope="module")
def events():
    return lhcb_hcal_events("stored").generate(600, rng())


def test_numbers_of_an_image():
    image = np.zeros((2, *hcal.SHAPE))
    image[0, 10, 20], image[0, 12, 24], image[0, 0, 0] = 300.0, 100.0, 6.0
    assert total_et(image).tolist() == [406.0, 0.0]
    assert maximum_et(image).tolist() == [300.0, 0.0]
    assert active_cells(image).tolist() == [2.0, 0.0]  # six is not above six
    rows, columns = centre_of_energy(image)
    assert rows[0] == pytest.approx((300 * 10 + 100 * 12) / 406)
    assert columns[0] == pytest.approx((300 * 20 + 100 * 24) / 406)
    assert np.isnan([rows[1], columns[1]]).all()


def test_windows_are_sums_of_four():
    cells = rng().random((2, 5, 6))
    slow = [[[cells[k, i : i + 2, j : j + 2].sum() for j in range(5)] for i in range(4)] for k in range(2)]
    np.testing.assert_allclose(window_sums(cells), slow)


def test_squares_are_seven_pixels_wide_and_cut_at_the_edge():
    mask = signal_squares([*signal_at((20, 30)), *signal_at((0, 63)), []])
    assert mask[0].sum() == 49
    assert mask[0, 17:24, 27:34].all()
    assert mask[1].sum() == 16
    assert not mask[2].any()


@pytest.mark.parametrize(
    ("pixels", "signal", "tos", "tis"),
    [
        ({(20, 30): 3201.0}, [(20, 30)], True, False),
        ({(20, 30): 3199.0}, [(20, 30)], False, False),
        ({(20, 30): 3201.0}, [(20, 42)], False, True),
        ({(20, 30): 1700.0, (21, 31): 1600.0}, [(20, 30)], True, False),
        ({(20, 30): 1700.0, (20, 32): 1600.0}, [(20, 30)], False, False),  # not neighbours
        ({(20, 30): 3300.0, (30, 20): 3300.0}, [(20, 30)], True, True),
        ({(20, 30): 3300.0}, [(20, 34)], True, True),  # the window to the right overlaps, that to the left does not
        ({(20, 30): 3300.0}, [], False, True),
        ({(0, 0): 900.0, (0, 1): 900.0, (1, 0): 900.0, (1, 1): 900.0}, [(1, 1)], True, False),  # one outer cell of 3600 MeV
        ({(20, 16): 2000.0, (20, 15): 1400.0}, [(20, 16)], False, False),  # cells of different regions
    ],
)
def test_trigger_decisions(pixels, signal, tos, tis):
    image = np.zeros((1, *hcal.SHAPE))
    for (row, column), energy in pixels.items():
        image[0, row, column] = energy
    found = decisions(image, signal_at(*signal) if signal else [[]])
    if (tos, tis) == (True, True) and len(pixels) == 1:
        assert found.tos[0]
        return
    assert (bool(found.tos[0]), bool(found.tis[0])) == (tos, tis)
    assert found.both[0] == (tos and tis)
    assert found.any[0] == (tos or tis)


def readable(image, signal, threshold=3200.0):
    """HTOS and HTIS of one event, window by window."""
    tos = tis = False
    for cells, top, left, size in zip(hcal.real_cells(image[None]), (12, 0), (16, 0), (1, 2), strict=True):
        for i in range(cells.shape[1] - 1):
            for j in range(cells.shape[2] - 1):
                if cells[0, i : i + 2, j : j + 2].sum() <= threshold:
                    continue
                low, high = top + i * size, top + (i + 2) * size - 1
                west, east = left + j * size, left + (j + 2) * size - 1
                overlap = any(
                    low <= r + 3 and high >= r - 3 and west <= c + 3 and east >= c - 3
                    for r, c in ((int(y // hcal.CELL) + 26, int(x // hcal.CELL) + 32) for x, y, _ in signal)
                )
                tos, tis = tos or overlap, tis or not overlap
    return tos, tis


def test_decisions_are_those_of_the_readable_twin(events):
    images = events["cells"].reshape(-1, *hcal.SHAPE)
    hard = np.argsort(-images.max((1, 2)))[:60]
    found = decisions(images[hard], events["signal"][hard])
    slow = [readable(images[k], events["signal"][k].tolist()) for k in hard]
    assert list(zip(found.tos.tolist(), found.tis.tolist(), strict=True)) == slow
    assert found.tos.any()
    assert found.tis.any()


def test_rates_are_those_of_a_binomial():
    x = np.repeat([1.0, 3.0, 7.0], [100, 400, 5])
    passed = np.arange(505) % 4 == 0
    y, error, influence = binomial(x, passed, np.array([0.0, 2.0, 5.0, 6.0]), np.ones(505))
    assert y[:2] == pytest.approx([0.25, 0.25])
    assert np.isnan(y[2])  # five events are too few
    assert error[:2] == pytest.approx([np.sqrt(0.25 * 0.75 / 100), np.sqrt(0.25 * 0.75 / 400)], rel=0.05)
    assert np.sqrt((influence**2).sum(0))[:2] == pytest.approx(error[:2], rel=0.05)
    never = binomial(np.ones(100), np.zeros(100, bool), np.array([0.0, 2.0]), np.ones(100))[1]
    assert 0 < never[0] < 0.02


def samples(events, candidates, **more):
    half = len(events) // 2
    return Samples(
        events[:half],
        events[half:],
        candidates,
        dict.fromkeys(candidates, True),
        geometry=builtin("lhcb-hcal"),
        replicas=5,
        seed=1,
        **more,
    )


def bare(events, scale=1.0):
    """A candidate's events: no aux."""
    return Events(replace(events.schema, aux=()), events.conditions, {"cells": events["cells"] * np.float32(scale)})


def test_the_trigger_of_the_reference_itself_agrees_and_of_less_energy_does_not(events):
    half = events[: len(events) // 2]
    looked = samples(events, {"itself": bare(half), "half the energy": bare(half, 0.5)})
    (finding,) = factory("analyses", {"kind": "hcal-trigger", "bins": 4, "largest": 0.03, "least_p": 0.01})()(looked)
    same, less = finding.numbers["itself"], finding.numbers["half the energy"]
    assert same["htos"]["largest_difference"] == 0
    assert same["htis"]["rate"] == same["htis"]["reference"] > less["htis"]["rate"]
    assert same["htis"]["floor"] > 0
    assert finding.curves["itself"]["htis_total_et"]["chi2"] == 0
    assert finding.curves["half the energy"]["htis_signal_et"]["p_value"] < 0.01
    assert not finding.reasons["itself"]
    assert any("p-value" in sentence for sentence in finding.reasons["half the energy"])
    assert finding.curves["itself"]["htos_drawn_et"]["chi2"] == finding.curves["itself"]["both_drawn_total_et"]["chi2"] == 0
    assert len(finding.pictures) == 12
    assert len(finding.rows) == 6
    words = {"kind": "hcal-trigger", "bins": 4, "largest": 0.03, "least_p": 0.01, "judged": ["drawn_total_et"]}
    (finding,) = factory("analyses", words)()(looked)
    assert finding.reasons["half the energy"]
    assert all("drawn_total_et" in sentence for sentence in finding.reasons["half the energy"])


def test_the_tracks_are_drawn_from_those_of_the_event():
    counts, items = np.array([0, 2, 5]), np.arange(21.0).reshape(7, 3)
    drawn, energy = drawn_tracks(counts, items, 3, rng())
    assert [len(tracks) for tracks in drawn] == [0, 2, 3]
    assert {tuple(t) for t in drawn[1]} == {tuple(t) for t in items[:2]}
    assert {tuple(t) for t in drawn[2]} <= {tuple(t) for t in items[2:]}
    assert energy.tolist() == [0.0, 7.0, float(drawn[2][:, 2].sum())]
    first = [drawn_tracks(counts, items, 1, rng(seed))[0][2][0][0] for seed in range(200)]
    assert len(set(first)) == 5  # any of them


def test_tracks_are_read_from_their_image_too(events):
    counts, items = tracks_of(events)
    assert counts.tolist() == [len(t) for t in events["tracks"]]
    seen = tracks_of(events.select_conditions(["tracker_image"]))
    assert np.array_equal(
        hcal.pixel(seen[1][:, 0], seen[1][:, 1]), np.flatnonzero(events["tracker_image"].reshape(-1)) % hcal.N_PIXELS
    )
    assert seen[1][:, 2].sum() == pytest.approx(items[:, 2].sum(), rel=1e-5)
    assert tracks_of(events.select_conditions([])) is None


def test_trigger_rates_on_drawn_tracks_need_no_identity():
    """Two sorts of tracks, half of them without signal: blind answers disagree on the signal, and agree on drawn tracks."""
    n, r = 4000, rng(3)
    tracks = np.stack([np.tile(x_of(np.array([20, 40])), (n, 1)), np.full((n, 2), y_of(20)), np.full((n, 2), 4000.0)], axis=2)
    first = r.random(n) < 0.5  # which track is the hadron
    known, blind = (np.zeros((n, *hcal.SHAPE), np.float32) for _ in range(2))
    for hit, image in ((first, known), (r.random(n) < 0.5, blind)):
        image[np.arange(n), 20, np.where(hit, 20, 40)] = 4000.0
    signal = tracks[np.arange(n), np.where(first, 0, 1)][:, None]
    aux = {"signal": jagged(signal.reshape(-1, 3), np.ones(n, int)), "signal_et": np.full(n, 4000.0)}
    conditions = {"tracks": jagged(tracks.reshape(-1, 3), np.full(n, 2))}
    schema = Schema((hcal.TRACKS,), (hcal.CELLS,), (SIGNAL, SIGNAL_ET))
    events = Events(schema, conditions, {"cells": known.reshape(n, -1)}, aux=aux)
    half = events[: n // 2]
    other = bare(half).with_response({"cells": blind[: n // 2].reshape(n // 2, -1)})
    looked = Samples(half, events[n // 2 :], {"blind": other}, paired={"blind": True}, geometry=builtin("lhcb-hcal"))
    (finding,) = factory("analyses", {"kind": "hcal-trigger", "bins": 1, "drawn": 1})()(looked)
    assert finding.curves["blind"]["htos_signal_et"]["p_value"] < 1e-9
    assert finding.curves["blind"]["htos_drawn_et"]["p_value"] > 0.001


def test_images_gallery_and_their_figures(events):
    half = events[: len(events) // 2]
    looked = samples(events, {"lhcb-hcal-tip": bare(half, 0.9), "the stp": bare(half, 0.7)})
    (finding,) = factory("analyses", "hcal-images")()(looked)
    entry = finding.numbers["lhcb-hcal-tip"]["total_et"]
    mean = half["cells"].sum(1).mean()
    assert entry["wasserstein1"]["value"] == pytest.approx(0.1 * mean, rel=1e-3)
    assert {"maximum_et", "active_cells", "resolution"} <= set(finding.numbers["the stp"])
    (shown,) = factory("analyses", {"kind": "hcal-gallery", "events": 2})()(looked)
    assert shown.pictures[0].mime == "image/png"
    assert list(panels(looked, np.arange(2))) == ["tracks", "the stp", "reference", "lhcb-hcal-tip"]


class Half:
    """A stand-in of images that gives back half of what it is told."""

    def __init__(self, schema):
        self.schema = Schema(schema.conditions, schema.response)

    def simulate(self, conditions, generator):
        told = np.asarray(conditions["stp_image"], np.float32)
        return Events(self.schema, dict(conditions), {"cells": (told / 2).reshape(len(told), -1)})


def test_the_gallery_asks_candidates_at_other_tracks_and_shows_what_a_refinement_refines(events):
    summed = np.asarray(events["cells"], np.float32).reshape(-1, *hcal.SHAPE) * 0.5
    schema = replace(events.schema, conditions=(hcal.STP_IMAGE,), aux=(*events.schema.aux, hcal.TRACKS))
    aux = {**events.aux, "tracks": events.conditions["tracks"]}
    refined = replace(events, schema=schema, conditions={"stp_image": summed}, aux=aux)
    half = len(refined) // 2
    candidates = {"asked": bare(refined[half:]), "file": bare(refined[half:])}
    looked = replace(samples(refined, candidates), paired={}, standins={"asked": Half(schema)})
    shown = panels(looked, np.array([5, 2]))
    assert list(shown) == ["tracks", "STP", "reference", "asked"]
    assert np.array_equal(shown["STP"], summed[[5, 2]])
    assert np.array_equal(shown["asked"], summed[[5, 2]] / 2)
    assert np.array_equal(shown["tracks"], hcal.tracker_image(events.conditions["tracks"][[5, 2]]))


def test_variety_at_one_track():
    source = lhcb_hcal_pions()
    pions = source.generate(4000, rng())
    half = pions[:2000]
    looked = samples(pions, {"pions": bare(half)}, simulator=source.simulator, standins={"pions": source.simulator})
    (finding,) = factory("analyses", {"kind": "hcal-variety", "inputs": 1, "events": 200})()(looked)
    ((_, entry),) = finding.numbers["pions"].items()
    total = entry["total_et"]
    assert total["same_input"] < 4 * total["same_input_floor"] + 0.05 * total["reference_spread"]
    assert total["spread"] == pytest.approx(total["reference_spread"], rel=0.4)
    assert "centre_row" in entry
    assert len(finding.rows) == len(entry)


def test_events_alike_are_near_in_angle_and_energy():
    pions = lhcb_hcal_pions().generate(2000, rng())
    rows = alike(pions, pions[7:8], 0.01, 0.1)
    assert 7 in rows
    theta = np.arctan(np.hypot(*pions["position"].T) / hcal.Z_FACE)
    assert (np.abs(theta[rows] - theta[7]) <= 0.01 + 1e-9).all()
    assert (np.abs(pions["et"][rows] / pions["et"][7] - 1) <= 0.1 + 1e-6).all()


def test_samples_that_the_analyses_are_not_for(events):
    half = events[: len(events) // 2]
    no_signal = Samples(bare(half), bare(half), {})
    with pytest.raises(ValueError, match="hcal-trigger needs events with aux 'signal'"):
        factory("analyses", "hcal-trigger")()(no_signal)
    with pytest.raises(ValueError, match="hcal-variety asks single tracks"):
        factory("analyses", "hcal-variety")()(no_signal)
    with pytest.raises(ValueError, match="give an odd number"):
        factory("analyses", {"kind": "hcal-trigger", "square": 6})()
    small = Events(
        Schema((hcal.TRACKS,), (replace(hcal.CELLS, shape=(89,)),)),
        {"tracks": jagged([], np.zeros(2, int))},
        {"cells": np.ones((2, 89))},
    )
    with pytest.raises(ValueError, match="an HCAL image has"):
        factory("analyses", "hcal-images")()(Samples(small, small, {}))
