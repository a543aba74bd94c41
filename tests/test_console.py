import subprocess
import sys
from io import StringIO

import pytest
from rich.console import Console as RichConsole

from understudy import console as module
from understudy.console import Console, duration, number, size


def consoles(terminal):
    streams = StringIO(), StringIO()
    err, out = (RichConsole(file=s, force_terminal=terminal, width=120, highlight=False, color_system=None) for s in streams)
    return Console(progress=err, results=out), *streams


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    times = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: times[0])
    return times


ROW = {
    "epoch": 2.0,
    "losses": {"critic": -1.23456},
    "score": {"width": 5.0, "score": 0.25, "eta": None, "phi": 1.0, "layer": 77.0},
    "best": True,
}


def test_a_step_in_a_log(clock):
    console, err, out = consoles(terminal=False)
    with console.step("Simulating [some] events") as step:
        for i in range(61):
            clock[0] = i
            step.advance(i * 10, 1000)
    lines = err.getvalue().splitlines()
    assert lines[0] == "Simulating [some] events"
    assert lines[1] == "Simulating [some] events: 10% (100 of 1,000), 1 min 30 s left"
    assert lines[-1] == "done  Simulating [some] events (1 min 0 s)"
    assert len(lines) == 1 + 6 + 1
    assert out.getvalue() == ""


def test_a_step_at_a_terminal():
    console, err, _ = consoles(terminal=True)
    with console.step("Simulating") as step:
        step.advance(1, 2)
    assert "50%" in err.getvalue()
    assert "done  Simulating (0.0 s)" in err.getvalue()


def test_a_step_that_fails_is_not_done():
    console, err, _ = consoles(terminal=False)
    with pytest.raises(RuntimeError), console.step("Simulating"):
        raise RuntimeError
    assert "done" not in err.getvalue()


def test_a_training_at_a_terminal():
    console, err, _ = consoles(terminal=True)
    with console.training("a89") as watch:
        watch.begin(10, 0)
        watch.row({**ROW, "epoch": 1.0})
        watch.row(ROW)
        watch.losses(7, 3.5, {"critic": 9.87654})
    shown = err.getvalue().splitlines()
    header = next(line for line in shown if "critic loss" in line)
    assert header.index("score") < header.index("width") < header.index("eta") < header.index("phi")
    assert "layer" not in header
    assert sum("best" in line for line in shown) == 1
    assert any("-1.235" in line and "0.25" in line and "best" in line for line in shown)
    assert any("9.877" in line and "3.5" in line and "now" in line for line in shown)
    assert any("70%" in line for line in shown)


def test_a_training_in_a_log(clock):
    console, err, _ = consoles(terminal=False)
    with console.training("a89") as watch:
        watch.begin(100, 40)
        for i in range(41, 61):
            clock[0] = i - 41.0
            watch.losses(i, i / 10, {"critic": 0.5, "generator": -2.0})
        watch.row(ROW)
    lines = err.getvalue().splitlines()
    assert lines == [
        "Training a89",
        "a89, epoch 5.1, critic loss 0.5, generator loss -2: 51% (51 of 100), 49.0 s left",
        "done  Training a89 (19.0 s)",
    ]


def test_transforms_that_are_fitted_before_a_training_in_a_log(clock):
    console, err, _ = consoles(terminal=False)
    with console.training("a89") as watch:
        for i in range(1, 21):
            clock[0] = float(i)
            watch.fitting(i / 20)
        watch.begin(100, 0)
    assert err.getvalue().splitlines()[1:-1] == [
        "a89, fitting transforms: 50%, 11.1 s left",
        "a89, fitting transforms: 100%, 0.0 s left",
    ]


def test_transforms_that_are_fitted_before_a_training_at_a_terminal():
    console, _, _ = consoles(terminal=True)
    with console.training("a89") as watch:
        watch.fitting(0.5)
        assert "fitting transforms" in watch_text(watch)
        watch.begin(100, 0)
        assert "fitting transforms" not in watch_text(watch)


def watch_text(watch):
    drawn = RichConsole(file=StringIO(), width=120)
    drawn.print(watch.render())
    return drawn.file.getvalue()


def test_a_training_without_rounds():
    console, err, _ = consoles(terminal=True)
    with console.training("library") as watch:
        watch.begin(0, 0)
        watch.row({"epoch": 0.0, "losses": {}, "score": None, "best": False})
    assert "100%" in err.getvalue()


def test_summary():
    console, err, out = consoles(terminal=False)
    console.summary(
        [{"observable": "E[1]", "w1": 0.123456, "n": 12345}, {"observable": "eta", "w1": None}], title="verdict: pass"
    )
    text = out.getvalue()
    assert text.startswith("verdict: pass")
    assert "E[1]" in text
    assert "0.1235" in text
    assert "12,345" in text
    assert err.getvalue() == ""


def test_wrote_names_a_long_path_in_one_line(tmp_path):
    console, _, out = consoles(terminal=False)
    folder = tmp_path / ("a" * 150)
    folder.mkdir()
    (folder / "x").write_bytes(b"0" * 1234)
    console.wrote(folder / "x", "events")
    console.wrote(folder, "bundle")
    assert out.getvalue() == f"wrote events: {folder / 'x'} (1.2 kB)\nwrote bundle: {folder} (1.2 kB)\n"


def test_quiet(capsys):
    console = Console(quiet=True)
    with console.step("a") as step, console.training("b") as watch:
        step.advance(1, 2)
        watch.begin(1, 0)
        watch.row(ROW)
    console.warn("c")
    console.summary([{"a": 1}])
    assert capsys.readouterr() == ("", "")


def test_streams(capsys):
    console = Console()
    console.warn("the [range] is small")
    console.summary([{"a": 1}])
    out, err = capsys.readouterr()
    assert err == "warning: the [range] is small\n"
    assert "1" in out


@pytest.mark.parametrize(
    ("seconds", "words"), [(1.234, "1.2 s"), (59.94, "59.9 s"), (59.97, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_numbers():
    assert [number(v) for v in (None, True, "x", 12345, 0.000123456)] == ["", "True", "x", "12,345", "0.0001235"]
    assert [size(v) for v in (999, 1234, 5e6, 7e9, 2e12)] == ["999 B", "1.2 kB", "5.0 MB", "7.0 GB", "2.0 TB"]


def test_import_is_light():
    code = "import sys, understudy.console; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pydantic', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
