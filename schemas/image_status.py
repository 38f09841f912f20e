"""The names for what can be wrong with an encoded image, and the limits that decide it.

`cxr-triage check`, ingestion, the data audit and the served model all use these names, so an image
gets the same verdict from each of them. This module has no third-party imports.

The rule for an image: 8 bits a channel, greyscale or RGB, upright, and nothing in the file that
makes the stored pixels differ from what a viewer shows. `cxr-triage convert` converts other images.
"""

from __future__ import annotations

OK = 'ok'
# The bytes are not a JPEG or PNG, or the decoder reports damage in them.
UNDECODABLE = 'undecodable'
# A valid header, but part of the pixels is missing.
TRUNCATED = 'truncated'
# More than MAX_PIXELS pixels, or a side longer than the user allows. Judged from the header alone.
TOO_LARGE = 'too_large'
# A side shorter than MIN_SIDE.
TOO_SMALL = 'too_small'
# The grey levels of the decoded image span less than BLANK_RANGE, so it shows nothing.
BLANK = 'blank'
# A property that makes the stored pixels differ from what a viewer shows: 16-bit or 1-bit pixels, a
# colour palette, transparency, an EXIF orientation other than upright, CMYK; or a JPEG with more
# than MAX_SCANS scans.
UNSUPPORTED = 'unsupported'

PROBLEMS = (UNDECODABLE, TRUNCATED, TOO_LARGE, TOO_SMALL, BLANK, UNSUPPORTED)
STATUSES = (OK, *PROBLEMS)

# The largest digital radiographs have about 20 million pixels.
MAX_PIXELS = 64 * 1024 * 1024
# Pixels; of the shorter side.
MIN_SIDE = 64
# Difference between the brightest and the darkest of the 8-bit pixels, 0..255. 12-bit data in a
# 16-bit file that is read as full-range 16-bit ends up with 16 levels, 0 to 15.
BLANK_RANGE = 16
# Encoders write about 10 scans in a progressive JPEG. Each scan costs a pass over all coefficients,
# so thousands of tiny scans keep a decoder busy for minutes.
MAX_SCANS = 64
