"""The served graph and `records.images` give each image the same name, as far as TensorFlow's
decoders allow.
"""

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
    'film': (bad_images.encode(bad_images.film()), image_status.OK),
    'progressive film': (bad_images.encode(bad_images.film(), progressive=True), image_status.OK),
    'PNG RGBA, opaque': (bad_images.encode(bad_images.film(), 'PNG', 'RGBA'), image_status.OK),
}


def _by_records(data: bytes) -> str:
    try:
        film = images.decode(data, images.check(data))
    except images.ImageError as error:
        return error.kind
    return image_status.BLANK if images.blank(film) else image_status.OK


@pytest.fixture(scope='module')
def served() -> dict[str, str]:
    """What the graph says of all images in one batch."""
    assess_all = tf.function(
        lambda batch: assess(batch, 32)[1], input_signature=[tf.TensorSpec([None], tf.string)]
    )
    answers = assess_all(tf.constant([data for data, _ in _CASES.values()])).numpy()
    return {name: answer.decode() for name, answer in zip(_CASES, answers, strict=True)}


@pytest.mark.parametrize('name', _CASES)
def test_same_name_in_the_served_graph_and_in_the_records(
    name: str, served: dict[str, str]
) -> None:
    data, kind = _CASES[name]
    assert _by_records(data) == kind
    assert _one_name(served[name]) == _one_name(kind)


def _one_name(kind: str) -> str:
    """TensorFlow's error does not say whether an image is damaged or ends early."""
    return image_status.UNDECODABLE if kind == image_status.TRUNCATED else kind
