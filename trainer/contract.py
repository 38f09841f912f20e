"""The signatures that an exported model promises to those who serve it. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass

PROBABILITY, FLAG, MODEL_VERSION = 'probability', 'flag', 'model_version'
HEAT_MAP = 'heat_map'
# Output -> dtype; each of shape [batch]. A task that asks for findings has an output of the same kind as `probability` for each.
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
# JPEG or PNG; `heat_map` is of shape [batch, height, width].
EXPLAIN = Signature('explain', 'image_bytes', {**SCORES, HEAT_MAP: 'float32'})
