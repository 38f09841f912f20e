"""The signatures of an exported model: for serialized Examples, and for encoded images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from schemas import image_status
from schemas.features import IMAGE
from schemas.signatures import (
    EMBED,
    EMBEDDING,
    EMBEDDING_SIZE,
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

    It is a plain tf.Module: Python can load a Keras 3 model that is saved the usual way, but the
    session loader of TensorFlow Serving cannot.

    The preprocessing is the part of Transform's graph up to the pixels, `decode` and `resize`. The
    whole graph would also encode each image as a PNG and decode it again, to the same pixels. That
    takes half as long as the prediction of a small network.
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
        """Collects the parts.

        Args:
          network: its first logit is that of the task's label, followed by those of `findings`.
            Further logits are not served.
          image_size: width and height in pixels.
          calibrations: one for each served logit.
          threshold: probability from which on an image is flagged.
          version: of the model.
          findings: outputs in addition to the probability of the label.
        """
        super().__init__()
        # Attributes of a tf.Module are saved. A Keras model would add a graph for each layer, which
        # nobody needs.
        self._variables = network.model.variables
        self._network = network
        self._image_size = image_size
        self._offset = tf.constant([item.offset for item in calibrations], tf.float32)
        self._temperature = tf.constant([item.temperature for item in calibrations], tf.float32)
        self._threshold = tf.constant(threshold, tf.float32)
        self._version = tf.constant(version)
        self._findings = tuple(findings)
        self._projection = tf.constant(projection(network.extractor.output_shape[-1]))

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES.input)], autograph=False
    )
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts for serialized tf.Examples, string [batch]. See `_predict`."""
        return self._predict(_images_of(examples))

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=IMAGES.input)], autograph=False
    )
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts for encoded images (JPEG or PNG), string [batch]. See `_predict`."""
        return self._predict(image_bytes)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=EXPLAIN.input)], autograph=False
    )
    def explain_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts for encoded images (JPEG or PNG), string [batch], and adds heat maps.

        Returns:
          The outputs of `_predict`, and `heat_map`, float32 [batch, height, width]. The image is
          divided into height x width equal parts, and the heat map has the log-odds of the
          positive class that each part adds. Their sum is the log-odds of `probability` up to a
          constant that is the same for every image. All are 0 for an image that is not `ok`.
        """
        pixels, status = self._assess(image_bytes)
        logits, contributions = evidence(self._network, pixels)
        is_ok = tf.equal(status, image_status.OK)[:, tf.newaxis, tf.newaxis]
        return self._scores(logits, status) | {
            HEAT_MAP: tf.where(is_ok, contributions / self._temperature[0], 0.0)
        }

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=EMBED.input)], autograph=False
    )
    def embed_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts for encoded images (JPEG or PNG), string [batch], and adds embeddings.

        Returns:
          The outputs of `_predict`, and `embedding`, float32 [batch, EMBEDDING_SIZE]: the pooled
          features, projected at random, which hardly changes distances between images. All are 0
          for an image that is not `ok`.
        """
        pixels, status = self._assess(image_bytes)
        features = tf.cast(self._network.extractor(pixels, training=False), tf.float32)
        embedding = features @ tf.cast(self._projection, tf.float32) / EMBEDDING_SIZE**0.5
        is_ok = tf.equal(status, image_status.OK)[:, tf.newaxis]
        return self._scores(self._network.head(features, training=False), status) | {
            EMBEDDING: tf.where(is_ok, embedding, 0.0)
        }

    def _predict(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts for encoded images, string [batch].

        Returns:
          `probability`, float32 [batch], of the positive class; `flag`, float32 [batch], 1 if the
          probability reaches the operating point; `status`, string [batch]; `model_version`, string
          [batch]; and for each finding its probability, float32 [batch], under its name. If the
          status is not `ok`, the probabilities are NOT_ASSESSED and the flag is 1.

        Raises:
          tf.errors.InvalidArgumentError: the batch is empty.
        """
        pixels, status = self._assess(images)
        return self._scores(self._network.model(pixels, training=False), status)

    # A separate tf.function, so that it is traced once for all signatures.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _assess(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        not_empty = tf.debugging.Assert(
            tf.size(images) > 0, ['The request has no images: expected at least one.']
        )
        with tf.control_dependencies([not_empty]):
            return assess(tf.identity(images), self._image_size)

    def _scores(self, logits: tf.Tensor, status: tf.Tensor) -> dict[str, tf.Tensor]:
        served = tf.cast(logits, tf.float32)[:, : 1 + len(self._findings)]
        is_ok = tf.equal(status, image_status.OK)
        probabilities = tf.sigmoid((served - self._offset) / self._temperature)
        probabilities = tf.where(is_ok[:, tf.newaxis], probabilities, NOT_ASSESSED)
        # NaN is flagged, too. This needs `is_nan`: TensorFlow rewrites `~(a < b)` as `a >= b`,
        # which is false for NaN.
        flagged = (probabilities[:, 0] >= self._threshold) | tf.math.is_nan(probabilities[:, 0])
        return {
            PROBABILITY: probabilities[:, 0],
            FLAG: tf.cast(flagged, tf.float32),
            STATUS: status,
            MODEL_VERSION: tf.fill(tf.shape(status), self._version),
            **{name: probabilities[:, index + 1] for index, name in enumerate(self._findings)},
        }

    @without_autograph
    def export(self, directory: str) -> None:
        """Writes a SavedModel with all signatures."""
        signatures = {
            EXAMPLES.name: self.serve_examples,
            IMAGES.name: self.serve_images,
            EXPLAIN.name: self.explain_images,
            EMBED.name: self.embed_images,
        }
        tf.saved_model.save(self, directory, signatures=signatures)


def projection(width: int) -> np.ndarray:
    """Random signs, int8 [width, EMBEDDING_SIZE], the same for every model of a width.

    Features times these keep their distances up to a small error. Achlioptas, "Database-friendly
    random projections", Journal of Computer and System Sciences 66, 2003.
    """
    signs = np.random.default_rng(0).integers(0, 2, (width, EMBEDDING_SIZE))
    return (2 * signs - 1).astype(np.int8)


def _images_of(examples: tf.Tensor) -> tf.Tensor:
    """The encoded images of serialized tf.Examples, string [batch].

    The result is empty for bytes that are not an example with one image.
    """

    def parse(serialized: tf.Tensor) -> tf.Tensor:
        return tf.io.parse_example(serialized, {IMAGE: tf.io.FixedLenFeature([], tf.string)})[IMAGE]

    def parse_one_by_one() -> tf.Tensor:
        return tf.map_fn(
            lambda serialized: with_fallback(parse, serialized, lambda: tf.constant(b'')), examples
        )

    images, parsed = with_fallback(
        lambda batch: (parse(batch), True),
        examples,
        lambda: (tf.fill(tf.shape(examples), b''), False),
    )
    return tf.cond(parsed, lambda: images, parse_one_by_one)
