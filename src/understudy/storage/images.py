r"""Pictures with a class: the IDX files of MNIST and the binary files of CIFAR-10, compressed by gzip or not.

IDX (Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits) keeps images and labels in two files. Each
begins with a magic number, of which the third byte is the type (0x08, unsigned bytes) and the fourth the number of axes, then
the lengths of the axes as big-endian 32-bit integers, then the bytes. The labels' file lies beside the images' and has its
name with `labels` for `images` and `idx1` for `idx3`, with or without `.gz`.

CIFAR-10 (A. Krizhevsky, Learning multiple layers of features from tiny images, 2009) keeps records of 3073 bytes: the class,
then 32 x 32 pixels of red, of green and of blue, row by row.

Events have the condition `label` (0 to 9) and the response `image`: rows x columns, or 3 x rows x columns. A pixel is its byte
over 255, from 0 (dark) to 1, a pure number. Nothing is held in memory but what is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from understudy.schema import Array, Block, Schema
from understudy.storage.image_bytes import PIECE, Bytes
from understudy.storage.layout import Column, Header
from understudy.storage.reader import Reader

CLASSES = 10
WHITE = 255
"""The byte of a pixel of 1."""
CIFAR = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
_IMAGES, _LABELS = 0x00000803, 0x00000801
_WHAT = {_IMAGES: "images", _LABELS: "labels"}
_CIFAR_FILES = ("data_batch_*.bin", "data_batch_*.bin.gz", "test_batch.bin", "test_batch.bin.gz")
_IDX_FILES = ("train-images*", "t10k-images*", "*images*ubyte*")


def is_images(path: str | Path) -> bool:
    """Whether a path is one of pictures: its name ends in `ubyte` or `.bin`, or `.gz` behind that, or it is a folder of such."""
    path = Path(path)
    if path.is_dir():
        return bool(_in_folder(path))
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".bin", "ubyte")) or re.search(r"[.-]idx\d", name) is not None


def image_files(path: str | Path) -> list[Path]:
    """The files behind a path: itself, those that match its pattern, or a folder's training files (else its test files).

    The labels' file of IDX images comes last.

    Raises:
        FileNotFoundError: no such file, none that matches, no labels beside the images.
    """
    path = Path(path)
    found = _in_folder(path) if path.is_dir() else [path]
    if not path.exists() and any(c in path.name for c in "*?["):
        found = sorted(path.parent.glob(path.name))
    if not found:
        raise FileNotFoundError(f"no file of images matches {path}; check the path")
    return found if _is_cifar(found[0]) else [found[0], labels_beside(found[0])]


def _is_cifar(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".bin")


def _in_folder(folder: Path) -> list[Path]:
    for pattern in (*_CIFAR_FILES, *_IDX_FILES):
        if found := sorted(folder.glob(pattern)):
            return found if pattern in _CIFAR_FILES else found[:1]
    return []


def labels_beside(images: Path) -> Path:
    """The file of labels that belongs to a file of IDX images; FileNotFoundError if there is none."""
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    bare = name.removesuffix(".gz")
    for candidate in (name, bare, f"{bare}.gz"):
        if candidate != images.name and images.with_name(candidate).is_file():
            return images.with_name(candidate)
    if not images.is_file():
        raise FileNotFoundError(f"there is no file {images}; check the path")
    raise FileNotFoundError(
        f"{images}: its labels are looked for beside it as {bare} or {bare}.gz, and neither is there; put it there"
    )


class _Idx:
    """One IDX file: its magic number and lengths, and bytes of its rows."""

    def __init__(self, path: Path, magic: int) -> None:
        self.bytes = Bytes(path)
        axes = magic & 0xFF
        try:
            self.start = 4 + 4 * axes
            start = self.bytes.read(0, self.start)
            header = [int(n) for n in np.frombuffer(start[: len(start) // 4 * 4], ">u4")]
            if len(header) < 1 + axes or header[0] != magic:
                found = f"0x{header[0]:08x}" if header else "none"
                raise ValueError(
                    f"{path}: the magic number of IDX {_WHAT[magic]} is 0x{magic:08x}, found {found}; is this the file of"
                    f" {_WHAT[magic]}?"
                )
            self.shape = tuple(header[1:])
            self.row = int(np.prod(self.shape[1:], dtype=int))
            there = sum(len(piece) for piece in self.bytes.pieces())
            if there != self.start + self.shape[0] * self.row:
                raise ValueError(
                    f"{path} says it holds {' x '.join(map(str, self.shape))} bytes behind its header, but there are"
                    f" {there - self.start}; fetch or copy it again"
                )
        except BaseException:
            self.bytes.close()
            raise

    def take(self, start: int, stop: int) -> Array:
        """Rows from `start` up to `stop`, unsigned bytes."""
        data = self.bytes.read(self.start + start * self.row, (stop - start) * self.row)
        return np.frombuffer(data, np.uint8).reshape(stop - start, *self.shape[1:])


class _IdxPair:
    """Images and their labels."""

    def __init__(self, images: Path, labels: Path) -> None:
        self.images = _Idx(images, _IMAGES)
        self.image_shape, n = self.images.shape[1:], self.images.shape[0]
        try:
            named = _Idx(labels, _LABELS)
            self.labels = named.take(0, named.shape[0])
            named.bytes.close()
            if len(self.labels) != n:
                raise ValueError(f"{images} holds {n} images but {labels} {len(self.labels)} labels; they do not belong together")
            check_classes(self.labels, labels)
        except BaseException:
            self.close()
            raise

    def take(self, start: int, stop: int) -> Array:
        """Images from `start` up to `stop`."""
        return self.images.take(start, stop)

    def close(self) -> None:
        """Close the files."""
        self.images.bytes.close()


class _Cifar:
    """CIFAR-10 records of one or several files, one after the other."""

    image_shape: tuple[int, ...] = CIFAR

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files: list[Bytes] = []
        labels = []
        try:
            for path in paths:
                self.files.append(Bytes(path))
                labels.append(self._labels(self.files[-1]))
        except BaseException:
            self.close()
            raise
        self.ends = np.cumsum([len(part) for part in labels])
        self.labels: Array = np.concatenate(labels)

    def _labels(self, file: Bytes) -> Array:
        parts, size = [], 0
        for piece in file.pieces(RECORD * (PIECE // RECORD)):
            parts.append(np.frombuffer(piece, np.uint8)[::RECORD].copy())
            size += len(piece)
        if size % RECORD or not size:
            raise ValueError(
                f"{file.path} has {size} bytes, no multiple of the {RECORD} of a CIFAR-10 record (class and 3 x 32 x 32 pixels);"
                " fetch it again, or name a file of CIFAR-10's binary version"
            )
        labels = np.concatenate(parts)
        check_classes(labels, file.path)
        return labels

    def take(self, start: int, stop: int) -> Array:
        """Images from `start` up to `stop`."""
        parts, first = [], 0
        for file, end in zip(self.files, self.ends, strict=True):
            low, high = max(start, first) - first, min(stop, int(end)) - first
            if high > low:
                data = np.frombuffer(file.read(low * RECORD, (high - low) * RECORD), np.uint8)
                parts.append(data.reshape(-1, RECORD)[:, 1:].reshape(-1, *CIFAR))
            first = int(end)
        return np.concatenate(parts) if parts else np.empty((0, *CIFAR), np.uint8)

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()


def check_classes(labels: Array, where: Path) -> None:
    """ValueError where a label is none of the ten classes."""
    if (bad := np.flatnonzero(labels >= CLASSES)).size:
        raise ValueError(
            f"{where}: image {bad[0]} has the label {labels[bad[0]]}, and {bad.size} of {len(labels)} labels are outside 0 to"
            f" {CLASSES - 1}; is this a file of another data set?"
        )


class ImageReader(Reader):
    """Events from files of pictures; see the module."""

    def _columns(self) -> Mapping[str, Column]:
        files = image_files(self.path)
        self._set = _Cifar(files) if _is_cifar(files[0]) else _IdxPair(*files)
        n = len(self._set.labels)
        kind = np.dtype(np.uint8)
        return {"label": Column((n,), kind), "image": Column((n, *self._set.image_shape), kind)}

    def _header(self) -> Header:
        pixels = Block("image", kind="image", shape=self._set.image_shape, minimum=0.0)
        return Header(Schema((Block("label", kind="categorical"),), (pixels,)))

    def _take(self, name: str, start: int, stop: int) -> Array:
        if name == "label":
            return self._set.labels[start:stop].astype(np.int64)
        return self._set.take(start, stop) / np.float32(WHITE)

    def close(self) -> None:
        """Close the files."""
        if hasattr(self, "_set"):
            self._set.close()
