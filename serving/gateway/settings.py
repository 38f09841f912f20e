"""What can be set about a gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from schemas import image_status
from serving.pacs.settings import PacsSettings
from serving.pacs.unsent import Patience


@dataclass(frozen=True)
class Limits:
    """What a client may send.

    Attributes:
      max_file_bytes: of one file.
      max_files: in one upload.
      max_pixels: of one image; checked before it is decoded.
      max_text_bytes: of a request that is not an upload.
      request_s: seconds in which a request must have arrived, and a part of an answer be taken.
      head_s: seconds in which the head of a request must have arrived.
      requests_per_minute: of one token, or of one address where tokens are off; files of the
        page and probes do not count.
    """

    max_file_bytes: int = 100 << 20
    max_files: int = 50
    max_pixels: int = image_status.MAX_PIXELS
    max_text_bytes: int = 1 << 20
    request_s: float = 120.0
    head_s: float = 30.0
    requests_per_minute: int = 1200

    @property
    def max_body_bytes(self) -> int:
        """Of a whole upload."""
        return self.max_file_bytes * 2


@dataclass(frozen=True)
class Settings:
    """A gateway.

    Attributes:
      target: the push directory of the served model, a path or URI.
      model: the name of the model on the model server.
      data: the folder of database, images and logs.
      database: its URL.
      requires_token: False only where it listens on this machine alone.
      hosts: the names by which it may be called; empty for all.
      canary_share: the share of studies, 0..1, that the canary version answers too.
      retention_days: how long image files are kept; 0 for ever.
      limits: what a client may send.
      config_file: of the model server; None for the one in the push directory.
      pacs: the exchange with an archive.
      site: of studies whose sender has none.
    """

    target: str
    model: str
    data: Path
    database: str
    requires_token: bool = True
    hosts: tuple[str, ...] = ()
    canary_share: float = 0.0
    retention_days: int = 0
    limits: Limits = Limits()
    config_file: Path | None = None
    pacs: PacsSettings = field(default_factory=PacsSettings)
    site: str = ''

    @property
    def report_patience(self) -> Patience:
        """When reports are given up: some days after their image files could have been deleted."""
        days = self.retention_days + self.pacs.report_days if self.pacs.report_days else 0
        return Patience(frozenset(target.name for target in self.pacs.targets), days)
