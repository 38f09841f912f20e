"""A tiny SavedModel with the signatures of the real one, sound or with a defect.

Also writes the files that Trainer writes with a model.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from components.serving_check import samples
from records import examples, synth, tfrecord
from schemas import image_status, signatures
from schemas.features import IMAGE
from trainer import image_assessment, preprocessing
from trainer.artifacts import PREDICTIONS_FILE
from trainer.tasks import TASKS
from trainer.tracing import without_autograph

THRESHOLD = 0.5
_SIDE = 16
_LABEL = TASKS['nih_triage'].label


class TinyModel(tf.Module):
    """Decodes, resizes and scores images, with one of these defects or none ('').

    In the signatures: no_image_signature, missing_output, double_dtype, fixed_batch.

    In the scores: nan, out_of_range, constant (all images get the same score), batch_dependent,
    hangs, hungry (takes 3 GiB).

    For images that cannot be assessed: recovers (an undecodable image gets a score), raises (it
    fails the batch), unsafe (it gets the flag 0), disturbs (it changes the scores of other images),
    refuses (no image is assessed), answers_nothing (a request without images gets another error).

    In heat maps: blind (NaN), explains_another (another probability), flat_map (another shape).
    """

    def __init__(self, seed: int = 0, defect: str = '') -> None:
        super().__init__()
        keras.utils.set_random_seed(seed)
        network = keras.Sequential(
            [
                keras.layers.Input([_SIDE, _SIDE, 1]),
                keras.layers.Conv2D(4, 3, activation='relu', kernel_initializer='random_normal'),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(1),
            ]
        )
        _spread(network)
        # Not the network itself, which an export would trace again, with AutoGraph.
        self.weights, self._network = network.weights, network.__call__
        self.defect = defect
        self.version = f'tiny-{seed}'

    @functools.cached_property
    def score(self) -> tf.types.experimental.ConcreteFunction:
        """Scores a batch of encoded images: string [batch] -> outputs of `schemas.signatures`.

        It is a concrete function, because an export traces other functions again, which is slow.
        """
        spec = tf.TensorSpec([None], tf.string)
        return tf.function(self._score, [spec], autograph=False).get_concrete_function()

    def _score(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        if self.defect != 'answers_nothing':
            with tf.control_dependencies([tf.debugging.Assert(tf.size(images) > 0, ['no images'])]):
                images = tf.identity(images)
        pixels, status = _assess()(images)
        if self.defect == 'raises':
            pixels = preprocessing.decode_and_resize(images, _SIDE)
        if self.defect == 'recovers':
            status = tf.where(status == image_status.UNDECODABLE, image_status.OK, status)
        if self.defect == 'refuses':
            status = tf.fill(tf.shape(status), image_status.UNSUPPORTED)
        is_ok = status == image_status.OK
        probability = tf.where(
            is_ok, self._probability(pixels, tf.shape(images)[0], is_ok), signatures.NOT_ASSESSED
        )
        flag = tf.cast(probability >= THRESHOLD, tf.float32)
        if self.defect == 'unsafe':
            probability, flag = (tf.where(is_ok, value, 0.0) for value in (probability, flag))
        return {
            signatures.PROBABILITY: tf.cast(probability, tf.float64)
            if self.defect == 'double_dtype'
            else probability,
            signatures.FLAG: flag,
            signatures.STATUS: status,
            signatures.MODEL_VERSION: tf.fill(tf.shape(images), self.version),
        }

    def _probability(self, pixels: tf.Tensor, count: tf.Tensor, is_ok: tf.Tensor) -> tf.Tensor:
        probability = tf.sigmoid(
            self._network(tf.cast(pixels, tf.float32) / 255.0, training=False)[:, 0]
        )
        if self.defect == 'nan':
            probability = probability * float('nan')
        if self.defect == 'out_of_range':
            probability = probability + 1.0
        if self.defect == 'constant':
            probability = probability * 0.0 + 0.7
        if self.defect == 'batch_dependent':
            probability = probability * (1 - 1e-3 * tf.cast(count - 1, tf.float32))
        if self.defect == 'disturbs':
            probability = tf.where(tf.reduce_all(is_ok), probability, probability * 0.9)
        if self.defect == 'hangs':
            probability += tf.while_loop(
                lambda value: value < 1.0,
                lambda value: [value * 1.0],
                [tf.reduce_min(probability) * 0.0],
            )[0]
        if self.defect == 'hungry':
            probability += 0.0 * tf.reduce_sum(tf.ones([3 << 28]) * probability[0])
        return probability

    @without_autograph
    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Traces the signatures to export."""
        batch = [2] if self.defect == 'fixed_batch' else [None]
        image_of = {IMAGE: tf.io.FixedLenFeature([], tf.string)}

        def scored(images: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = self.score(images)
            if self.defect == 'missing_output':
                outputs.pop(signatures.FLAG)
            return outputs

        @tf.function(
            input_signature=[tf.TensorSpec(batch, tf.string, name=signatures.EXAMPLES.input)],
            autograph=False,
        )
        def serving_default(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            return scored(tf.io.parse_example(serialized, image_of)[IMAGE])

        @tf.function(
            input_signature=[tf.TensorSpec(batch, tf.string, name=signatures.IMAGES.input)],
            autograph=False,
        )
        def serve_image(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return scored(images)

        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.string, name=signatures.EXPLAIN.input)],
            autograph=False,
        )
        def explain(images: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = self.score(images)
            maps = tf.cast(outputs[signatures.PROBABILITY], tf.float32)[:, None, None] * tf.ones(
                [1, 3, 3]
            )
            if self.defect == 'blind':
                maps *= float('nan')
            if self.defect == 'explains_another':
                outputs[signatures.PROBABILITY] /= 2.0
            return {**outputs, signatures.HEAT_MAP: maps[0] if self.defect == 'flat_map' else maps}

        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.string, name=signatures.EMBED.input)],
            autograph=False,
        )
        def embed(images: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = self.score(images)
            is_ok = tf.cast(outputs[signatures.STATUS] == image_status.OK, tf.float32)
            score = is_ok * tf.cast(outputs[signatures.PROBABILITY], tf.float32)
            embedding = score[:, None] * tf.range(signatures.EMBEDDING_SIZE, dtype=tf.float32)
            if self.defect == 'embeds_nothing':
                embedding *= float('inf')
            if self.defect == 'embeds_another':
                outputs[signatures.PROBABILITY] /= 2.0
            return {**outputs, signatures.EMBEDDING: embedding}

        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.string, name='examples')], autograph=False
        )
        def transform_features(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            parsed = tf.io.parse_example(
                serialized, {'No Finding': tf.io.FixedLenFeature([1], tf.int64)}
            )
            return {_LABEL: 1 - parsed['No Finding']}

        functions = {
            'serving_default': serving_default,
            'serve_image': serve_image,
            'explain': explain,
            'embed': embed,
            'transform_features': transform_features,
        }
        if self.defect == 'no_image_signature':
            functions.pop('serve_image')
        if self.defect == 'no_embedding':
            functions.pop('embed')
        return {name: function.get_concrete_function() for name, function in functions.items()}


def _spread(network: keras.Sequential) -> None:
    """Scales the last layer: the logits of `images()` get mean 0 and standard deviation 1.

    Without it, all images get almost the same score.
    """
    pixels = preprocessing.decode_and_resize(tf.constant(images()), _SIDE)
    logits = network(tf.cast(pixels, tf.float32) / 255.0).numpy()
    kernel, bias = network.layers[-1].get_weights()
    network.layers[-1].set_weights([kernel / logits.std(), (bias - logits.mean()) / logits.std()])


@functools.cache
def _assess() -> tf.types.experimental.ConcreteFunction:
    """`image_assessment.assess`, traced once for all models, because that takes half a second."""
    spec = tf.TensorSpec([None], tf.string)
    function = tf.function(
        lambda images: image_assessment.assess(images, _SIDE), [spec], autograph=False
    )
    return function.get_concrete_function()


@functools.cache
def images(count: int = 4) -> list[bytes]:
    """Different synthetic chest X-rays as JPEG."""
    return [
        synth.encode_jpeg(synth.phantom(patient=number + 1, size=96)) for number in range(count)
    ]


def export(path: Path, seed: int = 0, defect: str = '') -> TinyModel:
    """Exports a model to `path` and returns it."""
    model = TinyModel(seed, defect)
    tf.saved_model.save(model, str(path), signatures=model.signatures())
    return model


@functools.lru_cache(maxsize=1)
def _answers(model: TinyModel, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and flags of `images(count)`. A model is slow again after another is made."""
    scores = model.score(tf.constant(images(count)))
    return scores[signatures.PROBABILITY].numpy(), scores[signatures.FLAG].numpy()


def write_samples(folder: Path, model: TinyModel, count: int = 4, shift: float = 0.0) -> None:
    """Writes the two sample files of ServingCheck, with `shift` added to each probability."""
    folder.mkdir(parents=True, exist_ok=True)
    jpegs = images(count)
    probabilities, flags = _answers(model, count)
    ids = [f'{number:08d}_000.png' for number in range(count)]
    with (folder / samples.RECORDS_FILE).open('wb') as stream:
        for number, (image, image_id) in enumerate(zip(jpegs, ids, strict=True)):
            stream.write(
                tfrecord.frame(examples.build(image, image_id, {'No Finding': number % 2}))
            )
    answers = [
        {'image_id': image_id, 'probability': float(probability) + shift, 'flag': int(flag)}
        for image_id, probability, flag in zip(ids, probabilities, flags, strict=True)
    ]
    content = {'samples': answers, 'operating_point': {'threshold': THRESHOLD}}
    (folder / samples.ANSWERS_FILE).write_text(json.dumps(content))


def write_run(model_run: Path, examples: Path, model: TinyModel, count: int = 4) -> None:
    """Writes the Trainer's predictions in reverse order, and the raw examples of their images."""
    write_samples(model_run, model, count)
    content = json.loads((model_run / samples.ANSWERS_FILE).read_text())
    predictions = {
        'splits': {'val': content['samples'][::-1]},
        'operating_point': content['operating_point'],
    }
    (model_run / PREDICTIONS_FILE).write_text(json.dumps(predictions))
    (examples / 'Split-val').mkdir(parents=True)
    (model_run / samples.RECORDS_FILE).rename(
        examples / 'Split-val' / 'data_tfrecord-00000-of-00001'
    )
    (model_run / samples.ANSWERS_FILE).unlink()
