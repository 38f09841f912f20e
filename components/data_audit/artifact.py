"""The artifact type of DataAudit: a folder with `audit.json` and `audit.html`."""

from __future__ import annotations

from tfx.types.artifact import Artifact

AUDIT_JSON = 'audit.json'
AUDIT_PAGE = 'audit.html'


class DataAuditReport(Artifact):
    """The results of the data audit.

    `components.data_audit.summary` describes the layout of `audit.json`.
    """

    TYPE_NAME = 'components.DataAuditReport'
