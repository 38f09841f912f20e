"""The artifact type of DataAudit: a folder with `audit.json`, `audit.html` and `pictures.json`."""

from __future__ import annotations

from tfx.types.artifact import Artifact

AUDIT_JSON = 'audit.json'
AUDIT_PAGE = 'audit.html'
# Kind of issue -> examples -> the thumbnails of each as data URIs, '' if an image does not decode.
PICTURES_JSON = 'pictures.json'


class DataAuditReport(Artifact):
    """The results of the data audit.

    `components.data_audit.summary` describes the layout of `audit.json`.
    """

    TYPE_NAME = 'components.DataAuditReport'
