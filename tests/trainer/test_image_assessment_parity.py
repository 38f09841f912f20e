"""The served graph and `records.images` find the same status, if TensorFlow can distinguish it."""

from __future__ import annotations

import pytest
import tensorflow as tf

from records import images
from schemas import image_status
from tests.support import bad_images
from trainer.image_assessment import assess

pytestmark = pytest.mark.slow

_CASES = {
    **bad_images.BY_HEADER,
    **bad_images.BY_DECODING,
    **{name: (data, image_status.UNSUPPORTED) for name, data in bad_images.UNSUPPORTED.items()},
    **{name: (data, image_status.BLANK) for name, data in bad_images.BLANK.items()},
    'good': (bad_images.encode(bad_images.PIXELS), image_status.OK),
    'progressive JPEG': (bad_images.encode(bad_images.PIXELS, progressive=True), image_status.OK),
    'PNG RGBA, opaque': (bad_images.encode(bad_images.PIXELS, 'PNG', 'RGBA'), image_status.OK),
}


def _records_status(data: bytes) -> str:
    try:
        pixels = images.decode(data, images.check(data))
    except images.ImageError as error:
        return error.kind
    return image_status.BLANK if images.blank(pixels) else image_status.OK


@pytest.fixture(scope='module')
def served_statuses() -> dict[str, str]:
    """The statuses from the graph, for all images in one batch."""
    assess_all = tf.function(
        lambda batch: assess(batch, 32)[1], input_signature=[tf.TensorSpec([None], tf.string)]
    )
    statuses = assess_all(tf.constant([data for data, _ in _CASES.values()])).numpy()
    return {name: status.decode() for name, status in zip(_CASES, statuses, strict=True)}


@pytest.mark.parametrize('name', _CASES)
def test_the_served_graph_and_the_records_give_the_same_status(
    name: str, served_statuses: dict[str, str]
) -> None:
    data, expected = _CASES[name]
    assert _records_status(data) == expected
    assert _merge_damaged(served_statuses[name]) == _merge_damaged(expected)


def _merge_damaged(status: str) -> str:
    """TensorFlow's error does not say whether an image is damaged or ends early."""
    return image_status.UNDECODABLE if status == image_status.TRUNCATED else status
