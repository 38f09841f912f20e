"""What an exported model answers to: serialized Examples, or the bytes of images."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from schemas import image_status
from schemas.features import IMAGE
from schemas.signatures import (
    EXAMPLES,
    EXPLAIN,
    FLAG,
    HEAT_MAP,
    IMAGES,
    MODEL_VERSION,
    NOT_ASSESSED,
    PROBABILITY,
    STATUS,
)
from trainer.calibration import Calibration
from trainer.graph_errors import with_fallback
from trainer.image_assessment import assess
from trainer.model import Network, evidence
from trainer.tracing import without_autograph


class TriageModule(tf.Module):
    """Preprocessing, network, calibration and operating point in one object that can be exported.

    A plain tf.Module: a Keras 3 model saved the usual way loads in Python but not in TensorFlow
    Serving's session loader.

    The preprocessing is what Transform's graph is made of, `decode` and `resize`, up to the pixels:
    the whole graph would write each image as a PNG and read it again, to the same bits, in half of
    the time that a small network needs for an answer.
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
          network: its first logit is that of the task's label, then come those of `findings`; more
            are not served.
          image_size: pixels a side.
          calibrations: one for each logit that is served.
          threshold: probability from which a film is flagged.
          version: of the model.
          findings: outputs beside the probability of the label.
        """
        super().__init__()
        # What a tf.Module knows is saved. Of a Keras model that would be a graph of each layer too,
        # which nothing asks for.
        self._variables = network.model.variables
        self._network = network
        self._image_size = image_size
        self._offset = tf.constant([item.offset for item in calibrations], tf.float32)
        self._temperature = tf.constant([item.temperature for item in calibrations], tf.float32)
        self._threshold = tf.constant(threshold, tf.float32)
        self._version = tf.constant(version)
        self._findings = tuple(findings)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES.input)], autograph=False
    )
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.Examples, string [batch], of which only `image` is read. See `_answer` for
        what comes back.
        """
        return self._answer(_images_of(examples))

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=IMAGES.input)], autograph=False
    )
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images (JPEG or PNG), string [batch]. See `_answer` for what comes back."""
        return self._answer(image_bytes)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=EXPLAIN.input)], autograph=False
    )
    def explain_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images (JPEG or PNG), string [batch], to what `_answer` gives, and where it comes
        from.

        Returns:
          With `heat_map`, float32 [batch, height, width] over the image in equal parts: the
          log-odds of the positive class that each part adds. They sum to the log-odds of
          `probability`, but for a constant that is the same for every image. All 0 for an image
          that is not `ok`.
        """
        pixels, status = self._assess(image_bytes)
        logits, parts = evidence(self._network, pixels)
        is_ok = tf.equal(status, image_status.OK)[:, tf.newaxis, tf.newaxis]
        return self._scores(logits, status) | {
            HEAT_MAP: tf.where(is_ok, parts / self._temperature[0], 0.0)
        }

    def _answer(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images, string [batch], to calibrated probability, flag, status, version, and the
        probabilities of findings.

        Returns:
          `probability` float32 [batch] of the positive class; `flag` float32 [batch], 1 where the
          probability reaches the operating point; `status` string [batch], `ok` or why the image
          was not assessed, in which case the probabilities are NOT_ASSESSED and the flag is 1;
          `model_version` string [batch]; for each finding float32 [batch] under its name.

        Raises:
          tf.errors.InvalidArgumentError: the batch is empty.
        """
        pixels, status = self._assess(images)
        return self._scores(self._network.model(pixels, training=False), status)

    # A function of its own, so that it is traced once for the three signatures.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _assess(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        not_empty = tf.debugging.Assert(
            tf.size(images) > 0, ['The request holds no images: expected at least one.']
        )
        with tf.control_dependencies([not_empty]):
            return assess(tf.identity(images), self._image_size)

    def _scores(self, logits: tf.Tensor, status: tf.Tensor) -> dict[str, tf.Tensor]:
        served = tf.cast(logits, tf.float32)[:, : 1 + len(self._findings)]
        is_ok = tf.equal(status, image_status.OK)
        probabilities = tf.sigmoid((served - self._offset) / self._temperature)
        probabilities = tf.where(is_ok[:, tf.newaxis], probabilities, NOT_ASSESSED)
        # A probability that is not a number must not look normal either. (TensorFlow turns `~(a <
        # b)` into `a >= b`, so it is asked.)
        flagged = (probabilities[:, 0] >= self._threshold) | tf.math.is_nan(probabilities[:, 0])
        return {
            PROBABILITY: probabilities[:, 0],
            FLAG: tf.cast(flagged, tf.float32),
            STATUS: status,
            MODEL_VERSION: tf.fill(tf.shape(status), self._version),
            **{name: probabilities[:, place + 1] for place, name in enumerate(self._findings)},
        }

    @without_autograph
    def export(self, directory: str) -> None:
        """Writes a SavedModel that answers to the three signatures."""
        signatures = {
            EXAMPLES.name: self.serve_examples,
            IMAGES.name: self.serve_images,
            EXPLAIN.name: self.explain_images,
        }
        tf.saved_model.save(self, directory, signatures=signatures)


def _images_of(examples: tf.Tensor) -> tf.Tensor:
    """Serialized tf.Examples to their encoded images, string [batch]; no bytes for what is not an
    example with one image.
    """

    def parse(serialized: tf.Tensor) -> tf.Tensor:
        return tf.io.parse_example(serialized, {IMAGE: tf.io.FixedLenFeature([], tf.string)})[IMAGE]

    def one_by_one() -> tf.Tensor:
        return tf.map_fn(
            lambda serialized: with_fallback(parse, serialized, lambda: tf.constant(b'')), examples
        )

    images, parsed = with_fallback(
        lambda batch: (parse(batch), True),
        examples,
        lambda: (tf.fill(tf.shape(examples), b''), False),
    )
    return tf.cond(parsed, lambda: images, one_by_one)
