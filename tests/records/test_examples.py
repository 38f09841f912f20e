"""One record: the NIH layout survives a round trip, anything else is refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from records import examples, tfrecord
from records.example_proto import Example
from records.examples import RecordError
from schemas.labels import LABELS, NO_FINDING, OTHER

pytestmark = pytest.mark.filterwarnings('ignore:Unexpected end-group tag')

ID = '00000013_005.png'


def example() -> Any:
    return Example.FromString(examples.build(b'\xff\xd8\xff', ID, {'Mass': 1}))


def test_round_trip() -> None:
    record = examples.parse(examples.build(b'\xff\xd8\xff', ID, {'Mass': 1, 'Hernia': True}))
    assert (record.image, record.image_id) == (b'\xff\xd8\xff', ID)
    assert tuple(record.labels) == LABELS
    assert {name for name, value in record.labels.items() if value} == {'Mass', 'Hernia'}


def test_a_record_without_image_id_is_read() -> None:
    assert examples.parse(examples.build(b'x', None, {})).image_id is None


def test_another_finding_is_a_mark_of_its_own() -> None:
    record = examples.parse(examples.build(b'image', 'a.png', {OTHER: 1}))
    assert record.other == 1 and not any(record.labels.values())
    assert examples.parse(examples.build(b'image', 'a.png', {NO_FINDING: 1})).other == 0


def test_equal_records_are_equal_bytes() -> None:
    reordered = dict.fromkeys(reversed(LABELS), 1)
    assert examples.build(b'x', ID, reordered) == examples.build(b'x', ID, dict.fromkeys(LABELS, 1))


def test_tensorflow_reads_what_is_built_and_the_other_way_round() -> None:
    tf = pytest.importorskip('tensorflow')
    built = examples.build(b'\xff\xd8', ID, {'Mass': 1})
    theirs = tf.train.Example.FromString(built)
    assert theirs.features.feature['image'].bytes_list.value[:] == [b'\xff\xd8']
    assert theirs.features.feature['Mass'].int64_list.value[:] == [1]
    assert examples.serialize(theirs) == built
    theirs.features.feature['score'].float_list.value[:] = [1.5, -2.0]
    ours = Example.FromString(theirs.SerializeToString())
    assert ours.features.feature['score'].float_list.value[:] == [1.5, -2.0]


@pytest.mark.real_data
def test_real_records_are_rebuilt_with_the_same_content(real_data: Path) -> None:
    tf = pytest.importorskip('tensorflow')
    item = next(iter(tfrecord.read(str(sorted((real_data / 'nih' / 'data').glob('*.tfrec'))[0]))))
    assert isinstance(item, tfrecord.Record)
    record = examples.parse(item.payload)
    rebuilt = examples.build(record.image, record.image_id, record.labels)
    assert tf.train.Example.FromString(rebuilt) == tf.train.Example.FromString(item.payload)


def _drop(name: str) -> Callable[[Any], Any]:
    return lambda message: message.features.feature.pop(name) and None


def _values(name: str, kind: str, values: list) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        message.features.feature[name].Clear()
        getattr(message.features.feature[name], kind).value[:] = values

    return change


def _without_kind(message: Any) -> None:
    message.features.feature['Mass'].Clear()


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        pytest.param(_drop('image'), "feature 'image' is missing", id='missing image'),
        pytest.param(
            _drop('Pleural_Thickening'),
            "feature 'Pleural_Thickening' is missing",
            id='missing label',
        ),
        pytest.param(
            _values('Mass', 'int64_list', [7]), "label 'Mass' is 7: expected 0 or 1", id='label 7'
        ),
        pytest.param(_values('Mass', 'int64_list', [-1]), "label 'Mass' is -1", id='label -1'),
        pytest.param(
            _values('Mass', 'float_list', [1.0]),
            "feature 'Mass' is a float_list: expected a int64_list",
            id='label as float',
        ),
        pytest.param(
            _values('Mass', 'bytes_list', [b'1']),
            "feature 'Mass' is a bytes_list",
            id='label as text',
        ),
        pytest.param(
            _values('Mass', 'int64_list', [0, 1]),
            "feature 'Mass' has 2 values",
            id='two values of a label',
        ),
        pytest.param(_values('Mass', 'int64_list', []), "feature 'Mass'", id='no value of a label'),
        pytest.param(
            _without_kind, "feature 'Mass' is a feature without values", id='feature without a kind'
        ),
        pytest.param(
            _values('image', 'int64_list', [1]),
            "feature 'image' is a int64_list: expected a bytes_list",
            id='image as number',
        ),
        pytest.param(
            _values('image', 'bytes_list', [b'a', b'b']),
            "feature 'image' has 2 values",
            id='two images',
        ),
        pytest.param(
            _values('image', 'bytes_list', [b'']), "feature 'image' is empty", id='empty image'
        ),
        pytest.param(
            _values('image_id', 'bytes_list', [b'\xff\xfe']),
            "feature 'image_id' is not UTF-8",
            id='image_id no text',
        ),
        pytest.param(
            _values('image_id', 'int64_list', [13]),
            "feature 'image_id' is a int64_list",
            id='image_id as number',
        ),
    ],
)
def test_a_record_of_another_layout_is_refused(change: Callable[[Any], Any], expected: str) -> None:
    message = example()
    change(message)
    with pytest.raises(RecordError) as caught:
        examples.parse(message.SerializeToString())
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    'payload',
    [
        pytest.param(b'', id='empty'),
        pytest.param(b'\xff\xd8\xff\xe0 a JPEG as it is', id='a bare JPEG'),
        pytest.param(b'Image Index,Finding Labels', id='text'),
        pytest.param(examples.build(b'x' * 50, ID, {})[:-3], id='cut off'),
        pytest.param(
            examples.build(b'x' * 50, ID, {}) + b'\x0c' + b'rest', id='a stray end-group tag'
        ),
        pytest.param(b'\x0a\x00', id='an Example without features'),
    ],
)
def test_no_example(payload: bytes) -> None:
    with pytest.raises(RecordError, match=r'not a tf\.train\.Example'):
        examples.parse(payload)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_damaged_examples_are_parsed_or_refused_never_anything_else(data: st.DataObject) -> None:
    payload = bytearray(examples.build(b'\xff\xd8\xff' * 5, ID, {'Mass': 1}))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        record = examples.parse(bytes(payload))
    except RecordError as error:
        assert str(error)
        return
    assert record.image
    assert set(record.labels.values()) <= {0, 1}
