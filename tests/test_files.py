import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from understudy import files


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def failing(code):
    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with files.atomic_path(path) as partial:
        partial.write_text("complete")
        assert not path.exists()
        assert partial.parent == path.parent
    assert path.read_text() == "complete"
    assert names(path.parent) == ["a.txt"]


def test_an_error_in_the_block_keeps_the_earlier_file(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "earlier")

    def half() -> None:
        with files.atomic_path(path) as partial:
            partial.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        half()
    assert path.read_text() == "earlier"
    assert names(tmp_path) == ["a.txt"]


def test_an_interrupt_leaves_nothing(tmp_path):
    def interrupted() -> None:
        with files.atomic_path(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "the disk is full; free some space"), (errno.EDQUOT, "quota")])
def test_a_full_disk_is_one_sentence_and_keeps_the_earlier_file(tmp_path, monkeypatch, code, words):
    path = files.write_text(tmp_path / "a.txt", "earlier")
    monkeypatch.setattr(os, "fsync", failing(code))
    with pytest.raises(OSError, match=f"^cannot write {path}: .*{words}") as caught:
        files.write_text(path, "later")
    assert caught.value.errno == code
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_text() == "earlier"
    assert names(tmp_path) == ["a.txt"]


def test_a_read_only_place_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", failing(errno.EACCES))
    with pytest.raises(PermissionError, match=r"cannot write .*: no permission to write there; choose another folder"):
        files.write_text(tmp_path / "a.txt", "x")


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "a").write_text("I am a file")
    for path in (tmp_path / "a" / "b.txt", tmp_path / "a" / "b" / "c.txt"):
        with pytest.raises(OSError, match="part of the path is a file, not a folder"):
            files.write_text(path, "x")
    with pytest.raises(IsADirectoryError, match="there is a folder of that name"):
        files.write_text(tmp_path, "x")


def test_an_input_that_cannot_be_read_is_not_blamed_on_the_output(tmp_path):
    def copy() -> None:
        with files.atomic_path(tmp_path / "out.txt") as partial:
            partial.write_text((tmp_path / "in.txt" / "x").read_text())

    (tmp_path / "in.txt").write_text("a file, not a folder")
    with pytest.raises(NotADirectoryError) as caught:
        copy()
    assert "cannot write" not in str(caught.value)


def test_the_sentence_is_said_once_where_writes_are_nested(tmp_path, monkeypatch):
    def nested() -> None:
        with files.atomic_directory(tmp_path / "bundle") as folder:
            monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
            files.write_text(folder / "a.txt", "x")

    with pytest.raises(OSError, match="disk is full") as caught:
        nested()
    assert str(caught.value).count("cannot write") == 1
    assert names(tmp_path) == []


def test_a_directory_is_swapped_whole(tmp_path):
    path = tmp_path / "bundle"
    for content in ("first", "second"):
        with files.atomic_directory(path) as folder:
            assert names(folder) == []
            (folder / content).write_text(content)
    assert names(path) == ["second"]
    assert names(tmp_path) == ["bundle"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_directory_survives_a_failed_replacement(tmp_path, monkeypatch, code):
    path = tmp_path / "bundle"
    with files.atomic_directory(path) as folder:
        (folder / "a").write_text("earlier")

    def replacement() -> None:
        with files.atomic_directory(path) as folder:
            (folder / "a").write_text("later")
            monkeypatch.setattr(os, "fsync", failing(code))

    with pytest.raises(OSError, match=f"^cannot write {path}"):
        replacement()
    assert (path / "a").read_text() == "earlier"
    assert names(tmp_path) == ["bundle"]


def test_a_directory_survives_a_failure_between_the_two_renames(tmp_path, monkeypatch):
    path = tmp_path / "bundle"
    with files.atomic_directory(path) as folder:
        (folder / "a").write_text("earlier")
    rename, calls = Path.rename, []

    def second_fails(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)

    def replacement() -> None:
        with files.atomic_directory(path) as folder:
            (folder / "a").write_text("later")

    with pytest.raises(OSError, match="disk is full"):
        replacement()
    assert (path / "a").read_text() == "earlier"
    assert names(tmp_path) == ["bundle"]


def test_recovery_after_a_kill_between_the_two_renames(tmp_path):
    (tmp_path / ".bundle.old").mkdir()
    (tmp_path / ".bundle.old" / "a").write_text("earlier")
    (tmp_path / ".bundle.partial").mkdir()
    files.recover_directory(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "a").read_text() == "earlier"
    with files.atomic_directory(tmp_path / "bundle") as folder:
        (folder / "a").write_text("later")
    assert names(tmp_path) == ["bundle"]
    assert (tmp_path / "bundle" / "a").read_text() == "later"


def test_a_directory_does_not_replace_a_file(tmp_path):
    path = files.write_text(tmp_path / "a", "a file")

    def replacement() -> None:
        with files.atomic_directory(path):
            pass

    with pytest.raises(NotADirectoryError, match="part of the path is a file"):
        replacement()
    assert path.read_text() == "a file"


def test_a_killed_process_leaves_the_earlier_file_and_its_remains_are_overwritten(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "earlier")
    program = (
        "import sys, time; from understudy.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as partial:\n"
        "    partial.write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.kill()
    assert path.read_text() == "earlier"
    assert names(tmp_path) == [".a.txt.partial", "a.txt"]
    files.write_text(path, "later")
    assert path.read_text() == "later"
    assert names(tmp_path) == ["a.txt"]


def test_json_and_its_limits(tmp_path):
    path = files.write_json(tmp_path / "a.json", {"x": [1, 2.5, None], "name": "µ"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"x": [1, 2.5, None], "name": "µ"}
    assert path.read_bytes().endswith(b"}\n")
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["x"] == [1, 2.5, None]


def test_sha256_against_known_values(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(os.urandom(3_000_000))
    assert files.sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_equal_text_gives_equal_bytes_at_any_time(tmp_path):
    first = files.sha256(files.write_json(tmp_path / "a", {"b": 1}))
    time.sleep(0.01)
    assert files.sha256(files.write_json(tmp_path / "a", {"b": 1})) == first
