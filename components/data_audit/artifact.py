"""The artifact that DataAudit writes: a folder with `audit.json` and `audit.html`."""

from __future__ import annotations

from tfx.types.artifact import Artifact

AUDIT_JSON = 'audit.json'
AUDIT_PAGE = 'audit.html'


class DataAuditReport(Artifact):
    """Findings of the data audit; the layout of `audit.json` is described in
    components.data_audit.summary.
    """

    TYPE_NAME = 'components.DataAuditReport'
