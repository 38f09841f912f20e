"""Error texts of libraries are short and contain neither record bytes nor control characters."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_encoding, text_format
from tensorflow.core.example import example_pb2

from pipeline.error_text import presentable
from pipeline.execute import _explain
from records.examples import build
from tests.support import bad_images

_PATIENT = '00000013_005.png'
_RECORD = build(bad_images.encode(bad_images.PIXELS), _PATIENT, {'Mass': 1})


def _tfma_message() -> str:
    """The message of TensorFlow Model Analysis (`model_util`) when a signature fails."""
    inputs = np.array([_RECORD, _RECORD], dtype=object)
    return (
        'Fail to call signature func with signature_name: serving_default.\n the inputs are:\n '
        f'{inputs}.\n The input_specs are:\n {{}}.'
    )


@pytest.mark.parametrize(
    'text',
    [
        pytest.param(_tfma_message(), id='numpy array in a message of TFMA'),
        pytest.param(f'cannot parse {_RECORD!r}', id='bytes'),
        pytest.param('value ' + repr(b"it's" + _RECORD), id='bytes with a quote'),
        pytest.param(
            text_format.MessageToString(example_pb2.Example.FromString(_RECORD)),
            id='protocol buffer',
        ),
        pytest.param(
            'serialized: "\\n' + text_encoding.CEscape(_RECORD, as_utf8=False) + '"',
            id='serialized protocol buffer',
        ),
    ],
)
def test_bytes_of_records_are_removed(text: str) -> None:
    assert len(text) > 10_000
    result = _explain(ValueError(text))
    assert len(result) < 3_500
    assert '\\xff\\xd8' not in result
    assert '\\377\\330' not in result
    assert ' bytes>' in result


def test_bytes_become_a_count_and_names_stay() -> None:
    assert (
        presentable(f'image {_PATIENT.encode()!r} holds {bytes(range(200))!r}')
        == f"image b'{_PATIENT}' holds <200 bytes>"
    )


def test_truncated_bytes_are_removed() -> None:
    text = f'x {_RECORD!r}'
    # Some of these texts end after the backslash of an escape.
    for length in range(len(text) - 220, len(text) - 180):
        assert presentable(text[:length]).startswith('x <')
    assert '\\xff' not in presentable('x' * 1_999_000 + repr(_RECORD))


def test_messages_of_this_project_stay() -> None:
    text = (
        'a.tfrec, record 3 (byte 71,022): the label "Mass" is 7: expected 0 or 1\n  - don\'t, '
        "and b'x'\tC:\\new\\table"
    )
    assert presentable(text) == text


def test_control_characters_are_escaped() -> None:
    assert presentable('id \x1b[31m\x07 of\r\nx') == 'id \\x1b[31m\\x07 of\\r\nx'


def test_length_is_bounded() -> None:
    result = presentable('\n'.join('x' * 2_500 for _ in range(100)))
    assert len(result) < 12_100
    assert result.splitlines()[0] == 'x' * 1_500 + '… (1,000 more characters)'
    assert result.endswith('more characters)')


def test_many_open_quotes_take_little_time() -> None:
    """No quote is closed; the search must not read the rest of the text for each of them."""
    assert len(presentable('b\'"\\' * 300_000)) < 12_100
