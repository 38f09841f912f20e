"""What a webhook is told about an assessed study: its answers, and nothing about the patient.

The signature follows the specification Standard Webhooks, for which there are libraries.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from serving.database.tables import Study
from serving.gateway import bodies
from serving.served_versions import VersionInfo

# Readers and uploaders write these themselves; and whether a study is read changes later.
_NOT_TOLD = {'reference', 'readings', 'canary', 'is_read'}


def build(study: Study, info: VersionInfo) -> bytes:
    """The JSON of a study whose images and answers are loaded, as the API has it."""
    return bodies.study(study, info, False).model_dump_json(exclude=_NOT_TOLD).encode()


def headers(key: bytes, id: str, at: int, content: bytes) -> dict[str, str]:
    """The headers that prove who has sent the content, and when.

    Args:
      key: of HMAC-SHA256.
      id: the same for each attempt, so that the receiver can tell that it has got it before.
      at: the time in seconds since 1970, against an attempt that somebody else repeats later.
      content: what is sent.
    """
    signed = hmac.new(key, f'{id}.{at}.'.encode() + content, hashlib.sha256).digest()
    return {
        'webhook-id': id,
        'webhook-timestamp': str(at),
        'webhook-signature': f'v1,{base64.b64encode(signed).decode()}',
    }
