"""The TFRecord reader: it yields undamaged records, names damage, and accounts for every byte."""

from __future__ import annotations

import gzip
import random
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from records import tfrecord
from records.tfrecord import Damage, Record

HEADER, CRC = 12, 4


def read(path: Path, data: bytes) -> list[Record | Damage]:
    path.write_bytes(data)
    return list(tfrecord.read(str(path)))


def size_of(item: Record | Damage) -> int:
    return len(item.payload) + HEADER + CRC if isinstance(item, Record) else item.length


def check_conserved(items: list[Record | Damage], size: int) -> None:
    """Checks that the items are numbered from 0 and cover the file without gaps."""
    place = 0
    for number, item in enumerate(items):
        assert (item.index, item.offset) == (number, place)
        place += size_of(item)
    assert place == size


def payloads_of(items: list[Record | Damage]) -> list[bytes]:
    return [item.payload for item in items if isinstance(item, Record)]


def damages_of(items: list[Record | Damage]) -> list[Damage]:
    return [item for item in items if isinstance(item, Damage)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / '000-4.tfrec'


@pytest.fixture
def payloads() -> list[bytes]:
    source = random.Random(7)
    # Many zero bytes, because the search for the next header uses them; lengths of 1 to 3 bytes.
    return [
        bytes(source.choice((0, 0, 0, 1, 2, 255)) for _ in range(size))
        for size in (40, 300, 70_000, 5)
    ]


@pytest.fixture
def frames(payloads: list[bytes]) -> list[bytes]:
    return [tfrecord.frame(payload) for payload in payloads]


def test_tensorflow_reads_what_frame_writes(
    path: Path, payloads: list[bytes], frames: list[bytes]
) -> None:
    tf = pytest.importorskip('tensorflow')
    path.write_bytes(b''.join(frames))
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(path))] == payloads


@pytest.mark.parametrize('compression', [None, 'GZIP'])
def test_reads_what_tensorflow_writes(
    path: Path, payloads: list[bytes], compression: str | None
) -> None:
    tf = pytest.importorskip('tensorflow')
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for payload in payloads:
            writer.write(payload)
    items = list(tfrecord.read(str(path)))
    assert payloads_of(items) == payloads
    assert not damages_of(items)


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        pytest.param(b'', 'the file is empty', id='zero-byte'),
        pytest.param(b'\x01\x02\x03', '3 bytes are left', id='shorter than a header'),
        pytest.param(
            b'\xff\xd8\xff\xe0' + bytes(range(256)) * 40,
            'checksum (CRC-32C) of the record header',
            id='a JPEG named .tfrec',
        ),
        pytest.param(bytes(100_000), 'checksum (CRC-32C) of the record header', id='zeros'),
        pytest.param(
            random.Random(1).randbytes(9_000_000),
            'checksum (CRC-32C) of the record header',
            id='noise over several reads',
        ),
        pytest.param(gzip.compress(b''), 'the file is empty', id='gzip of nothing'),
        pytest.param(
            b'\x1f\x8b rubbish',
            'the compressed stream is cut off or damaged',
            id='gzip in name only',
        ),
    ],
)
def test_a_file_without_records_is_one_damage(path: Path, data: bytes, reason: str) -> None:
    items = read(path, data)
    assert len(items) == 1
    assert isinstance(items[0], Damage)
    assert reason in items[0].reason
    check_conserved(items, 0 if data[:2] == b'\x1f\x8b' else len(data))


@pytest.mark.parametrize(
    ('at', 'reason'),
    [
        pytest.param(0, 'record header', id='length, low byte'),
        pytest.param(7, 'record header', id='length, high byte'),
        pytest.param(9, 'record header', id='checksum of the length'),
        pytest.param(HEADER, 'payload', id='payload, first byte'),
        pytest.param(HEADER + 150, 'payload', id='payload, middle'),
        pytest.param(HEADER + 300, 'payload', id='checksum of the payload'),
        pytest.param(HEADER + 303, 'payload', id='checksum of the payload, last byte'),
    ],
)
def test_a_flipped_byte_costs_one_record(
    path: Path, payloads: list[bytes], frames: list[bytes], at: int, reason: str
) -> None:
    data = bytearray(b''.join(frames))
    data[len(frames[0]) + at] ^= 0x10
    items = read(path, data)
    check_conserved(items, len(data))
    assert payloads_of(items) == [payloads[0], *payloads[2:]]
    (damage,) = damages_of(items)
    assert (damage.index, damage.offset, damage.length) == (1, len(frames[0]), len(frames[1]))
    assert reason in damage.reason


def test_the_payload_behind_a_wrong_checksum_is_handed_over(
    path: Path, payloads: list[bytes], frames: list[bytes]
) -> None:
    data = bytearray(frames[1])
    data[-1] ^= 1
    (damage,) = read(path, data)
    assert damage.payload == payloads[1]


@pytest.mark.parametrize(
    ('size', 'reason'),
    [
        pytest.param(5, '5 bytes are left', id='in the length'),
        pytest.param(HEADER - 1, '11 bytes are left', id='in the checksum of the length'),
        pytest.param(HEADER, 'ends inside this record', id='behind the header'),
        pytest.param(HEADER + 100, 'ends inside this record', id='in the payload'),
        pytest.param(HEADER + 300 + 2, 'ends inside this record', id='in the last checksum'),
    ],
)
def test_a_truncated_file_loses_only_its_last_record(
    path: Path, payloads: list[bytes], frames: list[bytes], size: int, reason: str
) -> None:
    data = frames[0] + frames[1][:size]
    items = read(path, data)
    check_conserved(items, len(data))
    assert payloads_of(items) == payloads[:1]
    (damage,) = damages_of(items)
    assert (damage.index, damage.offset, damage.length) == (1, len(frames[0]), size)
    assert reason in damage.reason


def test_a_cut_between_records_shows_only_in_the_promised_count(
    path: Path, frames: list[bytes]
) -> None:
    items = read(path, b''.join(frames[:2]))
    assert not damages_of(items)
    assert (len(items), tfrecord.promised_count(str(path))) == (2, 4)


@pytest.mark.parametrize(
    'first', [0, 1, 2], ids=['in the first', 'in the second', 'in the long one']
)
def test_bytes_that_are_missing_cost_only_the_record_they_are_missing_from(
    path: Path, payloads: list[bytes], frames: list[bytes], first: int
) -> None:
    cut = frames[first][: HEADER + 3] + frames[first][HEADER + 9 :]
    data = b''.join([*frames[:first], cut, *frames[first + 1 :]])
    items = read(path, data)
    check_conserved(items, len(data))
    assert payloads_of(items) == payloads[:first] + payloads[first + 1 :]
    assert [damage.length for damage in damages_of(items)] == [len(cut)]


def test_foreign_bytes_between_records_cost_none(
    path: Path, payloads: list[bytes], frames: list[bytes]
) -> None:
    # More than one read of the file long, so that the search runs over the seam.
    data = frames[0] + bytes(1000) + random.Random(3).randbytes(5_000_000) + b''.join(frames[1:])
    items = read(path, data)
    check_conserved(items, len(data))
    assert payloads_of(items) == payloads
    assert len(damages_of(items)) == 1


def test_an_empty_record_behind_a_damaged_header_is_found(
    path: Path, payloads: list[bytes], frames: list[bytes]
) -> None:
    data = bytearray(frames[0] + tfrecord.frame(b'') + frames[1])
    data[1] ^= 1
    items = read(path, data)
    check_conserved(items, len(data))
    assert payloads_of(items) == [b'', payloads[1]]


def test_only_the_beginning_of_a_huge_foreign_stretch_is_kept(
    path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfrecord, '_MAX_DAMAGE_BYTES', 1000)
    data = b'\xaa' * 6_000_000 + frames[0]
    items = read(path, data)
    check_conserved(items, len(data))
    assert items[0].payload == b'\xaa' * 1000


@pytest.mark.parametrize(
    'name', ['000-4.tfrec', '000-4.tfrec.gz'], ids=['zipped without saying so', 'zipped by name']
)
def test_gzip_is_recognised_by_its_bytes(
    tmp_path: Path, payloads: list[bytes], frames: list[bytes], name: str
) -> None:
    items = read(tmp_path / name, gzip.compress(b''.join(frames)))
    assert payloads_of(items) == payloads
    check_conserved(items, sum(map(len, frames)))


@pytest.mark.parametrize('padding', [0, 512, 200_000])
def test_gzip_of_several_members_is_read_to_its_end(
    path: Path, payloads: list[bytes], frames: list[bytes], padding: int
) -> None:
    zipped = [gzip.compress(frame) + bytes(padding) for frame in frames]
    assert payloads_of(read(path, b''.join(zipped))) == payloads


def _noise_frames(count: int = 6, size: int = 50_000) -> list[bytes]:
    """Records that gzip cannot shrink, as JPEGs are."""
    source = random.Random(5)
    return [tfrecord.frame(source.randbytes(size)) for _ in range(count)]


def test_a_truncated_gzip_delivers_all_before_its_end(path: Path) -> None:
    frames = _noise_frames()
    zipped = gzip.compress(b''.join(frames))
    cut = zipped[: len(zipped) * 7 // 12]
    plain = zlib.decompressobj(wbits=31).decompress(cut)
    items = read(path, cut)
    check_conserved(items, len(plain))
    assert len(payloads_of(items)) == len(plain) // len(frames[0]) == 3
    (damage,) = damages_of(items)
    assert 'is cut off or damaged' in damage.reason
    assert 'before its end marker' in damage.reason


def test_a_gzip_that_breaks_delivers_all_before_the_break(path: Path) -> None:
    frames = _noise_frames()
    intact = gzip.compress(b''.join(frames[:3]))
    body = zlib.compressobj(wbits=-15)
    # Everything before a flush can be unzipped; after it comes a block of the reserved type 3.
    stream = (
        intact[:10]
        + body.compress(b''.join(frames[:3]))
        + body.flush(zlib.Z_SYNC_FLUSH)
        + b'\x07'
        + bytes(50)
    )
    items = read(path, stream)
    check_conserved(items, sum(map(len, frames[:3])))
    assert len(payloads_of(items)) == 3
    assert 'invalid block type' in damages_of(items)[0].reason


def test_a_flipped_byte_in_gzip_is_never_passed_over(
    path: Path, payloads: list[bytes], frames: list[bytes]
) -> None:
    zipped = gzip.compress(b''.join(frames))
    for at in random.Random(2).sample(range(10, len(zipped)), 150):
        data = bytearray(zipped)
        data[at] ^= 0x40
        items = read(path, data)
        assert damages_of(items), f'byte {at}'
        assert set(payloads_of(items)) <= set(payloads)


def test_bytes_after_a_gzip_stream_are_named(
    path: Path, payloads: list[bytes], frames: list[bytes]
) -> None:
    items = read(path, gzip.compress(b''.join(frames)) + b'something else')
    assert payloads_of(items) == payloads
    assert 'is cut off or damaged' in damages_of(items)[0].reason


def test_a_folder_in_place_of_a_file_raises(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match=path.name):
        list(tfrecord.read(str(path)))


@pytest.mark.parametrize('prefix', ['', 'file://'], ids=['local', 'through TensorFlow'])
def test_a_missing_file_raises(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(OSError, match=r'gone\.tfrec'):
        list(tfrecord.read(f'{prefix}{tmp_path}/gone.tfrec'))


def test_a_uri_is_read_through_tensorflow(
    path: Path, payloads: list[bytes], frames: list[bytes]
) -> None:
    path.write_bytes(b''.join(frames))
    assert payloads_of(list(tfrecord.read(f'file://{path}'))) == payloads


@pytest.mark.parametrize(
    ('name', 'count'),
    [
        ('000-122.tfrec', 122),
        ('/a/b-3/015-118.tfrec', 118),
        ('gs://bucket/data/015-118.tfrec.gz', 118),
        ('train_001-7.tfrecord', 7),
        ('data.tfrec', None),
        ('000-122.tfrec.tmp', None),
        ('000-.tfrec', None),
    ],
)
def test_promised_count(name: str, count: int | None) -> None:
    assert tfrecord.promised_count(name) == count


_small = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6)
_many = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@_many
@given(payloads=_small, data=st.data())
def test_any_flip_costs_the_touched_record_only(
    path: Path, payloads: list[bytes], data: st.DataObject
) -> None:
    frames = [tfrecord.frame(payload) for payload in payloads]
    whole = bytearray(b''.join(frames))
    at = data.draw(st.integers(0, len(whole) - 1), label='at')
    whole[at] ^= data.draw(st.integers(1, 255), label='mask')
    if whole[:2] == b'\x1f\x8b':
        return
    ends = [sum(map(len, frames[: number + 1])) for number in range(len(frames))]
    touched = next(number for number, end in enumerate(ends) if at < end)
    items = read(path, whole)
    check_conserved(items, len(whole))
    assert payloads_of(items) == payloads[:touched] + payloads[touched + 1 :]
    assert [damage.length for damage in damages_of(items)] == [len(frames[touched])]


@_many
@given(payloads=_small, data=st.data())
def test_any_truncation_costs_the_last_record_only(
    path: Path, payloads: list[bytes], data: st.DataObject
) -> None:
    frames = [tfrecord.frame(payload) for payload in payloads]
    whole = b''.join(frames)
    cut = data.draw(st.integers(1, len(whole)), label='cut')
    items = read(path, whole[:cut])
    check_conserved(items, cut)
    intact = sum(1 for number in range(len(frames)) if sum(map(len, frames[: number + 1])) <= cut)
    assert payloads_of(items) == payloads[:intact]
    assert len(damages_of(items)) == (0 if cut == sum(map(len, frames[:intact])) else 1)


@_many
@given(data=st.binary(max_size=400))
def test_any_bytes_are_accounted_for_and_never_raise(path: Path, data: bytes) -> None:
    items = read(path, data)
    if data[:2] != b'\x1f\x8b':
        check_conserved(items, len(data))
    assert items


@_many
@given(payloads=_small, data=st.data())
def test_any_damage_to_gzip_never_raises_nor_invents_records(
    path: Path, payloads: list[bytes], data: st.DataObject
) -> None:
    zipped = bytearray(gzip.compress(b''.join(map(tfrecord.frame, payloads)), mtime=0))
    zipped[data.draw(st.integers(2, len(zipped) - 1), label='at')] ^= data.draw(
        st.integers(1, 255), label='mask'
    )
    del zipped[data.draw(st.integers(2, len(zipped)), label='cut') :]
    items = read(path, zipped)
    intact = payloads_of(items)
    assert intact == payloads[: len(intact)] or set(intact) <= set(payloads)
    assert len(intact) == len(payloads) or damages_of(items)


def test_a_gzip_file_that_unpacks_to_too_much_is_read_no_further(
    path: Path, payloads: list[bytes], frames: list[bytes]
) -> None:
    items = read(path, gzip.compress(b''.join(frames) + bytes(300 << 20), compresslevel=1))
    assert payloads_of(items) == payloads
    reasons = [damage.reason for damage in damages_of(items)]
    assert 'encoded images do not shrink that much' in reasons[-1]
    assert sum(map(size_of, items)) < 200 << 20
