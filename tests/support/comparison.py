"""Facts that two runs left, made comparable."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """Without the order of features, and without the last digits of sums, which depend on an
    order.
    """
    if isinstance(value, dict):
        content = {key: plain(each) for key, each in value.items()}
        if 'features' in content:
            content['features'].sort(key=lambda feature: feature['path']['step'])
        return content
    if isinstance(value, list):
        return [plain(each) for each in value]
    return float(f'{value:.9g}') if isinstance(value, float) else value
