"""What an exported model answers to: serialized Examples, or the bytes of images."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from trainer.calibration import Calibration
from trainer.contract import EXAMPLES, EXPLAIN, FLAG, HEAT_MAP, IMAGES, MODEL_VERSION, PROBABILITY
from trainer.features import IMAGE
from trainer.model import Network, evidence
from trainer.preprocessing import decode_and_resize
from trainer.tracing import as_it_stands


class TriageModule(tf.Module):
    """Preprocessing, network, calibration and operating point in one object that can be exported.

    A plain tf.Module: a Keras 3 model saved the usual way loads in Python but not in TensorFlow Serving's session loader.

    The preprocessing is the function that Transform's graph was made of, up to the pixels: the whole graph would write each image as a
    PNG and read it again, to the same bits, in half of the time that a small network needs for an answer.
    """

    def __init__(
        self,
        network: Network,
        image_size: int,
        calibrations: Sequence[Calibration],
        threshold: float,
        version: str,
        findings: Sequence[str] = (),
    ):
        """Takes the parts together.

        Args:
          network: its first logit is that of the task's label, then come those of `findings`; more are not served.
          image_size: pixels a side.
          calibrations: one for each logit that is served.
          threshold: probability from which a film is flagged.
          version: of the model.
          findings: outputs beside the probability of the label.
        """
        super().__init__()
        # What a tf.Module knows is saved. Of a Keras model that would be a graph of each layer too, which nothing asks for.
        self._variables = network.model.variables
        self._network = network
        self._image_size = image_size
        self._offset = tf.constant([each.offset for each in calibrations], tf.float32)
        self._temperature = tf.constant([each.temperature for each in calibrations], tf.float32)
        self._threshold = tf.constant(threshold, tf.float32)
        self._version = tf.constant(version)
        self._findings = tuple(findings)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES.input)], autograph=False)
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.Examples, string [batch], of which only `image` is read. See `_answer` for what comes back."""
        parsed = tf.io.parse_example(examples, {IMAGE: tf.io.FixedLenFeature([1], tf.string)})
        return self._answer(parsed[IMAGE])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=IMAGES.input)], autograph=False)
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images (JPEG or PNG), string [batch]. See `_answer` for what comes back."""
        return self._answer(image_bytes[:, tf.newaxis])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXPLAIN.input)], autograph=False)
    def explain_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images (JPEG or PNG), string [batch], to what `_answer` gives, and where it comes from.

        Returns:
          With `heat_map`, float32 [batch, height, width] over the image in equal parts: the log-odds of the positive class that each
          part adds. They sum to the log-odds of `probability`, but for a constant that is the same for every image.
        """
        pixels = decode_and_resize(image_bytes[:, tf.newaxis], self._image_size)
        logits, parts = evidence(self._network, pixels)
        return self._scores(logits) | {HEAT_MAP: parts / self._temperature[0]}

    def _answer(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images, string [batch, 1], to calibrated probability, flag, version, and the probabilities of findings.

        Returns:
          `probability` float32 [batch] of the positive class; `flag` float32 [batch], 1 where the probability reaches the operating
          point; `model_version` string [batch]; for each finding float32 [batch] under its name.
        """
        return self._scores(self._network.model(decode_and_resize(images, self._image_size), training=False))

    def _scores(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        served = tf.cast(logits, tf.float32)[:, : 1 + len(self._findings)]
        probabilities = tf.sigmoid((served - self._offset) / self._temperature)
        return {
            PROBABILITY: probabilities[:, 0],
            FLAG: tf.cast(probabilities[:, 0] >= self._threshold, tf.float32),
            MODEL_VERSION: tf.fill(tf.shape(probabilities)[:1], self._version),
            **{name: probabilities[:, place + 1] for place, name in enumerate(self._findings)},
        }

    @as_it_stands
    def export(self, directory: str) -> None:
        """Writes a SavedModel that answers to the three signatures."""
        signatures = {EXAMPLES.name: self.serve_examples, IMAGES.name: self.serve_images, EXPLAIN.name: self.explain_images}
        tf.saved_model.save(self, directory, signatures=signatures)
