"""The signatures of an exported model. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass

PROBABILITY, FLAG, MODEL_VERSION = 'probability', 'flag', 'model_version'
# A name from `schemas.image_status`.
STATUS = 'status'
HEAT_MAP = 'heat_map'
# What the network saw in an image, in few numbers, for comparisons of many images; all 0 for an
# image that is not `ok`.
EMBEDDING, EMBEDDING_SIZE = 'embedding', 64
# Output -> dtype; each of shape [batch]. A task with findings has an output like `probability` for
# each of them.
SCORES: dict[str, str] = {
    PROBABILITY: 'float32',
    FLAG: 'float32',
    STATUS: 'string',
    MODEL_VERSION: 'string',
}
# An image that is not `ok` gets this as its probability and its flag, also for each finding, so
# that it goes to a reader before all others. A client that looks at the probability or the flag
# alone must never take an image that was not assessed for a normal one, as it would with 0 or -1.
# NaN is not valid JSON, so one such image would spoil the answers for a whole REST request.
NOT_ASSESSED = 1.0


@dataclass(frozen=True)
class Signature:
    """One signature: its name, its one input (string [batch]), its outputs."""

    name: str
    input: str
    outputs: dict[str, str]


EXAMPLES = Signature(
    'serving_default', 'examples', SCORES
)  # serialized tf.Example; only the feature `image` is needed
IMAGES = Signature('serve_image', 'image_bytes', SCORES)  # JPEG or PNG
SIGNATURES = (EXAMPLES, IMAGES)
# JPEG or PNG; `heat_map` is of shape [batch, height, width].
EXPLAIN = Signature('explain', 'image_bytes', {**SCORES, HEAT_MAP: 'float32'})
# JPEG or PNG; `embedding` is of shape [batch, EMBEDDING_SIZE]. Versions from before this signature
# do not have it.
EMBED = Signature('embed', 'image_bytes', {**SCORES, EMBEDDING: 'float32'})
ALL_SIGNATURES = (*SIGNATURES, EXPLAIN, EMBED)
