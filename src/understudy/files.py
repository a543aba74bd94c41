"""Writing files so that nothing half-written survives.

A file or folder is built under a temporary name in the same folder, forced to disk, and only then renamed to its own
name, which the operating system does in one step. A full disk, an error or a killed process therefore leaves what was
there before. Temporary names are `.NAME.partial` and carry no random part: the next attempt overwrites what a killed one
left behind.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EFBIG: "the file would be larger than this system allows; write fewer events or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EACCES: "no permission to write there; choose another folder or change its permissions",
    errno.EPERM: "no permission to write there; choose another folder or change its permissions",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "part of the path is a file, not a folder; choose another path",
    errno.EEXIST: "part of the path is a file, not a folder; choose another path",
    errno.EISDIR: "there is a folder of that name; choose another name",
}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends without an error.

    Args:
        path: the file to make or to replace; missing parent folders are made.

    Raises:
        OSError: the file cannot be written (full disk, no permission, ...): one sentence that says what to do. Whatever was
            at `path` before is still there after any error.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    with _explained(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        try:
            yield partial
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
        except BaseException:
            with suppress(OSError):
                _remove(partial)
            raise


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Give an empty temporary folder to fill; it becomes `path` when the block ends without an error.

    A folder that was at `path` stays in its place until the new one is complete and is then removed.

    Args:
        path: the folder to make or to replace; missing parent folders are made.

    Raises:
        OSError: as for `atomic_path`.
    """
    path = Path(path)
    partial, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    with _explained(path):
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        recover_directory(path)
        _remove(partial)
        partial.mkdir()
        try:
            yield partial
            for entry in (*partial.rglob("*"), partial):
                _sync(entry)
            if path.exists():
                path.rename(old)
            partial.rename(path)
            _sync(path.parent)
        except BaseException:
            with suppress(OSError):
                recover_directory(path)
                _remove(partial)
            raise
        _remove(old)


def make_directory(path: str | Path) -> Path:
    """Make a folder and its parents where they are missing and see that it can be written to; OSError as for `atomic_path`."""
    path = Path(path)
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return path


def recover_directory(path: str | Path) -> None:
    """Put back the earlier folder where a process was killed between the two renames of `atomic_directory`."""
    path = Path(path)
    old = path.with_name(f".{path.name}.old")
    if old.exists() and path.exists():
        _remove(old)
    elif old.exists():
        old.rename(path)


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, atomically, and return the path."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def write_json(path: str | Path, data: Any) -> Path:
    """Write plain data as indented JSON, atomically, and return the path; NaN and infinity raise ValueError."""
    return write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while writing into an OSError with one sentence that names `path`."""
    try:
        yield
    except Exception as error:
        code = error_code(error)
        if code is None or code not in _ADVICE or not _concerns(error, path) or getattr(error, "explained", False):
            raise
        explained = type(OSError(code, ""))(f"cannot write {path}: {_ADVICE[code]}")
        explained.errno = code
        explained.explained = True  # type: ignore[attr-defined]
        raise explained from error


def _concerns(error: Exception, path: Path) -> bool:
    """False where the error names a file that has nothing to do with writing `path` (an input that cannot be read, say)."""
    named = getattr(error, "filename", None)
    if not isinstance(named, str):
        return True
    named = Path(named)
    own = (path, path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old"))
    return any(named.is_relative_to(p) or p.is_relative_to(named) for p in own)


def error_code(error: Exception) -> int | None:
    """The operating system's error number, if it is one of its errors; HDF5 and safetensors give it in their words."""
    words = str(error)
    if not isinstance(error, OSError):
        return next((code for code in _ADVICE if f"(os error {code})" in words), None)
    if error.errno is not None:
        return error.errno
    return next((code for code in _ADVICE if f"errno = {code}," in words or os.strerror(code) in words), None)


def _sync(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
