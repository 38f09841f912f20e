"""The audit as a self-contained page: styles and thumbnails stand in the file, nothing is
loaded.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

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


def render(audit: Audit, thumbnails: Mapping[tuple[int, int], bytes]) -> str:
    """The page; `thumbnails` are JPEGs by (shard, record), without those that do not decode."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    )
    uris = {
        place: f'data:image/jpeg;base64,{base64.b64encode(data).decode()}'
        for place, data in thumbnails.items()
    }
    pictures = {
        kind: [[uris.get(place, '') for place in places] for places in shown]
        for kind, shown in audit.pictures.items()
    }
    return environment.get_template(_TEMPLATE).render(
        audit=audit.content, pictures=pictures, names=_NAMES
    )
