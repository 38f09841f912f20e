"""The signatures that an exported model promises to those who serve it. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass

PROBABILITY, FLAG, MODEL_VERSION = 'probability', 'flag', 'model_version'
# Output -> dtype; each of shape [batch].
SCORES: dict[str, str] = {PROBABILITY: 'float32', FLAG: 'float32', MODEL_VERSION: 'string'}


@dataclass(frozen=True)
class Signature:
    """One signature: its name, its one input (string [batch]), its outputs."""

    name: str
    input: str
    outputs: dict[str, str]


EXAMPLES = Signature('serving_default', 'examples', SCORES)  # serialized tf.Example; only the feature `image` is needed
IMAGES = Signature('serve_image', 'image_bytes', SCORES)  # JPEG or PNG
SIGNATURES = (EXAMPLES, IMAGES)
