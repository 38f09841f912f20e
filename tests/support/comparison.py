"""Makes the facts of two runs comparable."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """Sorts features by name and drops the last digits of sums, which depend on the order."""
    if isinstance(value, dict):
        content = {key: plain(item) for key, item in value.items()}
        if 'features' in content:
            content['features'].sort(key=lambda feature: feature['path']['step'])
        return content
    if isinstance(value, list):
        return [plain(item) for item in value]
    return float(f'{value:.9g}') if isinstance(value, float) else value
