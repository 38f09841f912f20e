"""The transfer syntaxes that can be decoded, and what decodes them."""

from __future__ import annotations

from pydicom import uid

from records.dicom.codestreams import JPEG, JPEG_2000, JPEG_LOSSLESS, JPEG_LS

_RLE = 'RLE'
# Compressed ones -> the kinds of codestream that files in the wild have in them.
CODESTREAMS: dict[str, tuple[str, ...]] = {
    uid.JPEGBaseline8Bit: (JPEG,),
    uid.JPEGExtended12Bit: (JPEG,),
    uid.JPEGLossless: (JPEG_LOSSLESS,),
    uid.JPEGLosslessSV1: (JPEG_LOSSLESS,),
    uid.JPEGLSLossless: (JPEG_LS,),
    uid.JPEGLSNearLossless: (JPEG_LS,),
    uid.JPEG2000Lossless: (JPEG_2000,),
    uid.JPEG2000: (JPEG_2000,),
}
UNCOMPRESSED = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
ALL: tuple[str, ...] = (*UNCOMPRESSED, uid.RLELossless, *CODESTREAMS)


def is_known(syntax: str) -> bool:
    """Whether the pixels of a transfer syntax can be decoded."""
    return syntax in ALL
