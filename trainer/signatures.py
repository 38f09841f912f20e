"""What an exported model answers to: serialized Examples, or the bytes of images."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from trainer.calibration import Calibration
from trainer.contract import EXAMPLES, FLAG, IMAGES, MODEL_VERSION, PROBABILITY
from trainer.features import IMAGE
from trainer.preprocessing import decode_and_resize


class TriageModule(tf.Module):
    """Preprocessing, network, calibration and operating point in one object that `tf.saved_model.save` can write.

    A plain tf.Module: a Keras 3 model saved the usual way loads in Python but not in TensorFlow Serving's session loader.

    The preprocessing is the function that Transform's graph was made of, up to the pixels: the whole graph would write each image as a
    PNG and read it again, to the same bits, in half of the time that a small network needs for an answer.
    """

    def __init__(
        self,
        model: keras.Model,
        image_size: int,
        calibration: Calibration,
        threshold: float,
        version: str,
    ):
        super().__init__()
        self._model = model
        self._image_size = image_size
        self._offset = tf.constant(calibration.offset, tf.float32)
        self._temperature = tf.constant(calibration.temperature, tf.float32)
        self._threshold = tf.constant(threshold, tf.float32)
        self._version = tf.constant(version)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES.input)], autograph=False)
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.Examples, string [batch], of which only `image` is read. See `_answer` for what comes back."""
        parsed = tf.io.parse_example(examples, {IMAGE: tf.io.FixedLenFeature([1], tf.string)})
        return self._answer(parsed[IMAGE])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGES.input)], autograph=False)
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images (JPEG or PNG), string [batch]. See `_answer` for what comes back."""
        return self._answer(image_bytes[:, tf.newaxis])

    def _answer(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images, string [batch, 1], to calibrated probability, flag and version.

        Returns:
          `probability` float32 [batch] of the positive class; `flag` float32 [batch], 1 where the probability reaches the operating
          point; `model_version` string [batch].
        """
        logits = self._model(decode_and_resize(images, self._image_size), training=False)
        probability = tf.sigmoid((tf.cast(logits[:, 0], tf.float32) - self._offset) / self._temperature)
        return {
            PROBABILITY: probability,
            FLAG: tf.cast(probability >= self._threshold, tf.float32),
            MODEL_VERSION: tf.fill(tf.shape(probability), self._version),
        }

    def signatures(self) -> dict:
        """What `tf.saved_model.save` takes as `signatures`."""
        return {EXAMPLES.name: self.serve_examples, IMAGES.name: self.serve_images}
