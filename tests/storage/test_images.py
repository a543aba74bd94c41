"""IDX and CIFAR-10 files: what they say, in pieces and as a whole, and what is refused."""

import gzip

import numpy as np
import pytest

from understudy import storage
from understudy.references.file import File
from understudy.storage.images import RECORD, image_files

rng = np.random.default_rng(7)
IMAGES = rng.integers(0, 256, (30, 5, 4), dtype=np.uint8)
LABELS = np.arange(30, dtype=np.uint8) % 10
RECORDS = rng.integers(0, 256, (12, RECORD), dtype=np.uint8)
RECORDS[:, 0] = np.arange(12) % 10


def idx(values, magic=None):
    magic = 0x0800 | values.ndim if magic is None else magic
    return np.array([magic, *values.shape], ">u4").tobytes() + values.tobytes()


def put(path, data, packed):
    path = path.with_name(f"{path.name}.gz") if packed else path
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def mnist(folder, images=None, labels=None, packed=(True, True)):
    put(folder / "t10k-labels-idx1-ubyte", idx(LABELS) if labels is None else labels, packed[1])
    return put(folder / "t10k-images-idx3-ubyte", idx(IMAGES) if images is None else images, packed[0])


@pytest.mark.parametrize("packed", [(True, True), (False, False), (True, False), (False, True)])
def test_idx_images_and_the_labels_beside_them(tmp_path, packed):
    path = mnist(tmp_path, packed=packed)
    for named in (path, tmp_path):
        events = storage.read(named)
        np.testing.assert_array_equal(events["label"], LABELS)
        np.testing.assert_array_equal(events["image"], IMAGES / np.float32(255))
        assert [b.kind for b in (*events.schema.conditions, *events.schema.response)] == ["categorical", "image"]
        assert events.schema.response[0].shape == (5, 4)


@pytest.mark.parametrize("packed", [True, False])
def test_cifar_records_of_one_file_and_of_several(tmp_path, packed):
    one = put(tmp_path / "data_batch_1.bin", RECORDS[:5].tobytes(), packed)
    put(tmp_path / "data_batch_2.bin", RECORDS[5:].tobytes(), packed)
    put(tmp_path / "test_batch.bin", RECORDS.tobytes(), packed)
    pixels = RECORDS[:, 1:].reshape(-1, 3, 32, 32) / np.float32(255)
    np.testing.assert_array_equal(storage.read(one)["image"], pixels[:5])
    for several in (tmp_path, tmp_path / one.name.replace("1", "*")):
        assert len(image_files(several)) == 2  # a folder's training files, not its test file
        with storage.reader(several) as file:
            np.testing.assert_array_equal(file.read(3, 8)["image"], pixels[3:8])
            np.testing.assert_array_equal(file.rows(np.array([11, 0, 5]))["label"], [1, 0, 5])
            assert [len(part) for part in file.chunks(7)] == [7, 5]


def test_a_source_draws_from_them_and_their_digest_is_of_all_their_files(tmp_path):
    source = File(str(mnist(tmp_path)))
    assert len(source) == 30
    assert source.geometry is None
    assert len(np.unique(source.generate(20, np.random.default_rng(1))["label"])) == 10
    before = storage.digest(tmp_path)
    assert before == storage.digest(source.path)
    assert storage.title(tmp_path) == "t10k-images-idx3-ubyte.gz"
    mnist(tmp_path, labels=idx(LABELS[::-1].copy()))
    assert storage.digest(tmp_path) != before


def test_conditions_alone(tmp_path):
    events = storage.read(mnist(tmp_path), conditions=["label"], response=False)
    assert not events.response
    assert len(events) == 30


def test_real_digits_and_photographs(shared):
    digits = storage.read(shared / "data" / "mnist", stop=100)
    assert digits["label"][:5].tolist() == [7, 2, 1, 0, 4]
    assert digits["image"].shape == (100, 28, 28)
    with storage.reader(shared / "data" / "cifar10") as file:
        assert len(file) == 10_000
        assert file.read(0, 4)["label"].tolist() == [3, 8, 1, 0]


def refused(path, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        storage.read(path)


def test_truncated_gzip(tmp_path):
    for path in (mnist(tmp_path), put(tmp_path / "test_batch.bin", RECORDS.tobytes(), True)):
        path.write_bytes(path.read_bytes()[:-20])
        refused(path, "is cut off in the middle of its compressed data; fetch or copy it again")


def test_damaged_gzip(tmp_path):
    path = mnist(tmp_path)
    data = bytearray(path.read_bytes())
    data[-6] ^= 255  # the checksum
    path.write_bytes(bytes(data))
    refused(path, "is a damaged gzip file")


def test_wrong_magic_number(tmp_path):
    refused(mnist(tmp_path, images=idx(IMAGES, 0x00000D03)), "magic number of IDX images is 0x00000803, found 0x00000d03")
    refused(mnist(tmp_path, images=b"\0"), "magic number of IDX images is 0x00000803, found none")
    refused(mnist(tmp_path, labels=idx(IMAGES)), "magic number of IDX labels is 0x00000801, found 0x00000803")


@pytest.mark.parametrize("change", [-1, 1])
def test_size_that_is_no_multiple_of_a_record(tmp_path, change):
    data = RECORDS.tobytes()
    path = put(tmp_path / "test_batch.bin", data[:-1] if change < 0 else data + b"\0", False)
    refused(path, f"has {12 * RECORD + change} bytes, no multiple of the 3073 of a CIFAR-10 record")
    path.write_bytes(b"")
    refused(path, "has 0 bytes")


def test_labels_outside_0_to_9(tmp_path):
    refused(mnist(tmp_path, labels=idx(LABELS + 1)), "image 9 has the label 10, and 3 of 30 labels are outside 0 to 9")
    records = RECORDS.copy()
    records[4, 0] = 200
    refused(put(tmp_path / "test_batch.bin", records.tobytes(), True), "image 4 has the label 200, and 1 of 12 labels")


def test_images_and_labels_of_different_counts(tmp_path):
    refused(mnist(tmp_path, labels=idx(LABELS[:-1])), "holds 30 images but .* 29 labels; they do not belong together")


def test_fewer_bytes_than_the_header_says(tmp_path):
    refused(mnist(tmp_path, images=idx(IMAGES)[:-7]), "says it holds 30 x 5 x 4 bytes behind its header, but there are 593")


def test_no_labels_and_no_images(tmp_path):
    path = mnist(tmp_path)
    next(tmp_path.glob("*labels*")).unlink()
    refused(path, "its labels are looked for beside it as t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz, and neither is")
    refused(tmp_path / "train-images-idx3-ubyte", "there is no file .*train-images-idx3-ubyte")
    refused(tmp_path / "data_*.bin", "no file of images matches")


def test_images_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="which is no file format for events"):
        storage.write(tmp_path / "images.bin", storage.read(mnist(tmp_path)))
