"""The model as the Evaluator asks it: every film once, in their order, never more at once than
memory is meant for.
"""

from __future__ import annotations

import pytest
import tensorflow as tf

from components.evaluator import served_model
from schemas import image_status
from schemas.signatures import STATUS


class _BatchSizes(tf.Module):
    """Answers with each value itself, with how many were asked for together, and with a status:
    values below 2 are not assessed.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.strings.to_number(examples)
        status = tf.where(values < 2, image_status.BLANK, image_status.OK)
        return {
            'value': values,
            'together': tf.fill(tf.shape(examples), tf.size(examples)),
            STATUS: status,
        }


@pytest.fixture(scope='module')
def signature(tmp_path_factory: pytest.TempPathFactory) -> served_model._Signature:
    """Of a saved model."""
    path = str(tmp_path_factory.mktemp('model'))
    module = _BatchSizes()
    tf.saved_model.save(module, path, signatures={'serving_default': module.serve})
    return served_model.ServedModel(path).signatures['serving_default']


@pytest.mark.parametrize('films', [1, 63, 64, 65, 1000])
def test_a_large_batch_is_asked_for_in_parts(
    signature: served_model._Signature, films: int
) -> None:
    # MobileNetV2's largest activations of 64 films take 0.6 GB, those of a batch of Beam's 10 GB.
    answers = signature(tf.constant([str(number) for number in range(films)]))
    assert answers['value'].numpy().tolist() == list(range(films))
    assert answers['together'].numpy().max() == min(films, 64)


def test_it_says_what_it_takes(signature: served_model._Signature) -> None:
    (spec,) = signature.structured_input_signature[1].values()
    assert (spec.dtype, spec.shape.as_list()) == (tf.string, [None])


def test_films_that_are_not_assessed_are_counted_in_the_log(
    signature: served_model._Signature, caplog
) -> None:
    signature(tf.constant([str(number) for number in range(100)]))
    assert '2 of 100 films are not assessed (2 blank)' in caplog.text
    caplog.clear()
    signature(tf.constant(['2', '3']))
    assert not caplog.text


def test_no_films_have_no_answers(signature: served_model._Signature) -> None:
    answers = signature(tf.constant([], tf.string))
    assert {name: (answer.shape.as_list(), answer.dtype) for name, answer in answers.items()} == {
        'value': ([0], tf.float32),
        'together': ([0], tf.int32),
        STATUS: ([0], tf.string),
    }
