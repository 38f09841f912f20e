"""The TFX components of this project, one folder each.

Kubeflow imports an artifact type as `components.<Class>`. `__getattr__` imports the module of the
class on first use, so that parameters can be read without TFX.
"""

from __future__ import annotations

import importlib

_ARTIFACTS = {
    'DataAuditReport': 'components.data_audit.artifact',
    'DataBlessing': 'components.data_gate.artifact',
    'IngestReport': 'components.xray_example_gen.artifact',
    'Quarantine': 'components.xray_example_gen.artifact',
}


def __getattr__(name: str):
    if name in _ARTIFACTS:
        return getattr(importlib.import_module(_ARTIFACTS[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
