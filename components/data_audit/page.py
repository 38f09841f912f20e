"""Renders the audit as a self-contained page, with styles and thumbnails in the file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from components.data_audit import kinds
from components.data_audit.summary import Audit

_TEMPLATE = 'audit.html'
_NAMES = {
    'mean': 'mean grey level',
    'std': 'standard deviation',
    'black': 'share of black pixels',
    'white': 'share of white pixels',
    'border_black': 'black border',
    'quality': 'JPEG quality',
    'polarity': 'polarity',
}


def pictures(
    audit: Audit, thumbnails: Mapping[tuple[int, int], bytes]
) -> dict[str, list[list[str]]]:
    """Kind of issue -> examples -> the thumbnails of each as data URIs.

    Args:
      audit: the result of the audit.
      thumbnails: (shard, record) -> JPEG; images that do not decode have none, and ''.
    """
    uris = {
        record: f'data:image/jpeg;base64,{base64.b64encode(data).decode()}'
        for record, data in thumbnails.items()
    }
    return {
        kind: [[uris.get(record, '') for record in records] for records in examples]
        for kind, examples in audit.pictures.items()
    }


def render(audit: Audit, shown: Mapping[str, list[list[str]]]) -> str:
    """The page as HTML.

    Args:
      audit: the result of the audit.
      shown: from `pictures`.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    )
    return environment.get_template(_TEMPLATE).render(
        audit=audit.content, pictures=shown, names=_NAMES, keys=kinds.keys
    )
