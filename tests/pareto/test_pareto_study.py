"""The files of `understudy pareto`, and the published points."""

from __future__ import annotations

import csv
import io

import pytest
from PIL import Image
from typer.testing import CliRunner

from finished import write_run
from understudy.pareto.published import published, published_front
from understudy.pareto.study import pareto, summary


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    place = tmp_path_factory.mktemp("pareto")
    runs = [
        write_run(place / "a", 0.55, 0.1, 10.0),
        write_run(place / "b $x$", 0.92, 0.01, 0.001),
        write_run(place / "c", None, 0.3, 2.0, sha256="another", baseline=None),
    ]
    return pareto(runs, out=place / "out")


def test_figure_page_and_table(found):
    assert sorted(p.name for p in found.directory.iterdir()) == ["pareto.csv", "pareto.html", "pareto.png", "pareto.svg"]
    with Image.open(found.directory / "pareto.png") as image:
        assert image.size[1] > image.size[0]
    rows = list(csv.DictReader(io.StringIO((found.directory / "pareto.csv").read_text())))
    assert [(r["label"], r["role"]) for r in rows[:3]] == [
        ("flow (a)", "stand-in"),
        ("flow (b $x$)", "stand-in"),
        ("library", "baseline"),
    ]
    assert (rows[0]["auc_low"], rows[0]["floor_low"], rows[0]["front_low_ms"]) == ("0.55", "0.5", "1")
    assert (rows[1]["ms_per_shower"], rows[1]["training_minutes"], rows[1]["front_low_minutes"]) == ("0.01", "0.001", "1")
    assert rows[2]["ms_per_shower"] == ""
    assert rows[3]["auc_low"] == ""
    page = (found.directory / "pareto.html").read_text()
    for text in ("flow (b $x$)", "showers.h5 (another)", "Not comparable with the sections above", "2410.21611"):
        assert text in page
    assert "http" not in page.replace("https://github.com/CaloChallenge", "").replace("http://www.w3.org", "")
    assert page.count("data:image/svg+xml") == 3


def test_the_printed_table_says_who_is_on_the_front(found):
    rows = summary(found.groups[0], ["high"])
    assert found.rows(found.groups[0])[0]["AUC low"] == "0.550 ± 0.010"
    assert [r["stand-in"] for r in rows] == ["flow (a)", "flow (b $x$)", "library (baseline)", "floor"]
    assert rows[0] == {
        "stand-in": "flow (a)",
        "AUC high": "0.550 ± 0.010",
        "ms/shower": "0.100",
        "train [min]": "10.0",
        "front": "speed; training",
    }


def test_a_judge_that_there_is_not(tmp_path):
    with pytest.raises(ValueError, match="there is no judge 'best'; choose among low, high, combined"):
        pareto([tmp_path], judges=["best"], out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_command(tmp_path):
    run = write_run(tmp_path / "a", 0.5, 1.0, 1.0)
    from understudy.cli import app

    result = CliRunner(env={"COLUMNS": "140"}).invoke(app, ["pareto", str(run), "--out", str(tmp_path / "out"), "--auc", "low"])
    assert result.exit_code == 0, result.output
    assert "library (baseline)" in result.output
    assert "AUC high" not in result.output
    assert (tmp_path / "out" / "pareto.html").is_file()


def test_the_published_points_are_those_of_the_paper():
    found = published()
    assert {name: len(entries) for name, entries in found.items()} == {"1-photons": 16, "2": 18}
    for entries in found.values():
        floor, *submissions = entries
        assert floor.name == "Geant4"
        assert floor.ms is None
        assert all(abs(floor.auc[judge][0] - 0.5) < 0.002 for judge in ("low", "high"))
        assert all(e.ms is not None and e.ms[0] > 0 for e in submissions)
        assert all(0.5 < e.auc[judge][0] <= 1 for e in submissions for judge in ("low", "high"))
    second = {e.name: e for e in found["2"]}
    assert second["CaloDREAM"].auc["low"] == (0.5308, 0.0032)
    assert published_front(found["2"], "low")[-1] == (5052.0, 0.5308)
    assert published_front(found["2"], "high")[0] == (4.599, 0.9999)
