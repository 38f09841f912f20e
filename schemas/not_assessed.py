"""The names for why the service does not ask the model about an image.

The gate of the service (`serving.assessment`) gives these reasons. For an image that reaches the
model, the model gives those of `schemas.image_status`. This module has no third-party imports.
"""

from __future__ import annotations

from schemas import image_status

# The service has no file of the image any more.
FILE_MISSING = 'file_missing'
# The version failed on the image, or did not answer in time. Only of a canary: studies wait for the
# stable version.
NO_ANSWER = 'no_answer'
# Nearly all pixels are nearly black, or nearly white.
TOO_DARK = 'too_dark'
TOO_BRIGHT = 'too_bright'
# Something else: a photograph, a document, noise, another part of the body, a lateral view.
NOT_CHEST = 'not_a_chest_xray'
# A frontal chest X-ray, but black is white.
INVERTED = 'inverted'
# By 90, 180 or 270 degrees.
ROTATED = 'rotated'
# A part of the lungs is outside the image.
CROPPED = 'cropped'

# Pixels; of the shorter side. The model accepts images from `image_status.MIN_SIDE` on, which is
# enough to tell a chest from a blank image, but not to see a finding.
MIN_SIDE = 128

# Reason -> a sentence for the reader.
SENTENCES = {
    image_status.UNDECODABLE: 'The file is damaged.',
    image_status.TRUNCATED: 'A part of the file is missing.',
    image_status.TOO_LARGE: 'The image has too many pixels.',
    image_status.TOO_SMALL: f'A side of the image has fewer than {MIN_SIDE} pixels.',
    image_status.BLANK: 'The image shows nothing.',
    image_status.UNSUPPORTED: 'The file has a kind of pixels that the model does not read.',
    FILE_MISSING: 'The file is no longer stored.',
    NO_ANSWER: 'The version did not answer.',
    TOO_DARK: 'The image is too dark.',
    TOO_BRIGHT: 'The image is too bright.',
    NOT_CHEST: 'The image does not look like a frontal chest X-ray.',
    INVERTED: 'The image looks inverted: black and white are exchanged.',
    ROTATED: 'The image looks rotated or upside down.',
    CROPPED: 'The image does not show both lungs completely.',
}
