"""What can be set about the exchange with an archive."""

from __future__ import annotations

import re
import ssl
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

DEFAULT_AE_TITLE = 'CXRTRIAGE'
DEFAULT_REPORT_AFTER_S = 5.0
# 16 characters of the basic set, without the backslash that separates values.
_AE_TITLE = r'[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?'
_DICOM, _DICOM_TLS, _HTTP = 'dicom', 'dicoms', ('http', 'https')


class SettingError(ValueError):
    """A setting that cannot be used; the text says what was expected."""


@dataclass(frozen=True)
class Peer:
    """An application entity on the network.

    Attributes:
      ae_title: its title.
      host: its address; '' for any.
      port: on which it takes associations; 0 if it takes none.
    """

    ae_title: str
    host: str = ''
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Peer:
        """The peer of `TITLE`, `TITLE@HOST` or `TITLE@HOST:PORT`.

        Raises:
          SettingError: it has another form.
        """
        title, _, address = text.partition('@')
        host, _, port = address.partition(':')
        is_title = re.fullmatch(_AE_TITLE, title) is not None
        if not is_title or ('@' in text and not host) or (':' in text and not port.isdigit()):
            raise SettingError(
                f'{text!r}: expected TITLE, TITLE@HOST or TITLE@HOST:PORT, with a title of at most '
                '16 characters'
            )
        return cls(title, host, int(port or 0))


@dataclass(frozen=True)
class Target:
    """An archive that gets the reports.

    Attributes:
      name: its address without a password, as the database and the log have it.
      peer: where it takes C-STORE; None if it takes STOW-RS.
      url: of its DICOMweb service; '' if it takes C-STORE.
      is_tls: whether C-STORE is encrypted.
      user, password: for STOW-RS.
    """

    name: str
    peer: Peer | None = None
    url: str = ''
    is_tls: bool = False
    user: str = ''
    password: str = ''

    @classmethod
    def parse(cls, text: str) -> Target:
        """The target of `dicom://TITLE@HOST:PORT`, `dicoms://…` or `https://HOST/dicom-web`.

        Raises:
          SettingError: it has another form.
        """
        scheme, _, rest = text.partition('://')
        if scheme in (_DICOM, _DICOM_TLS):
            peer = Peer.parse(rest.rstrip('/'))
            if not peer.port:
                raise SettingError(f'{text!r}: expected {scheme}://TITLE@HOST:PORT')
            return cls(text.rstrip('/'), peer, is_tls=scheme == _DICOM_TLS)
        parts = urllib.parse.urlsplit(text)
        if scheme not in _HTTP or not parts.hostname:
            shown = f'{scheme}://…' if '@' in text else repr(text)
            raise SettingError(
                f'{shown}: expected dicom://TITLE@HOST:PORT, dicoms://TITLE@HOST:PORT or '
                'https://[USER:PASSWORD@]HOST/PATH'
            )
        place = parts.netloc.rpartition('@')[2]
        url = f'{scheme}://{place}{parts.path.rstrip("/")}'
        user, password = (
            urllib.parse.unquote(part or '') for part in (parts.username, parts.password)
        )
        return cls(url, url=url, user=user, password=password)


@dataclass(frozen=True)
class Tls:
    """The files of an encrypted connection.

    Attributes:
      certificate, key: of the gateway.
      authorities: who has to have signed the certificates of the others.
    """

    certificate: Path
    key: Path
    authorities: Path

    def for_server(self) -> ssl.SSLContext:
        """Clients need a certificate, too.

        Raises:
          SettingError: a file cannot be used.
        """
        return self._context(ssl.Purpose.CLIENT_AUTH)

    def for_client(self) -> ssl.SSLContext:
        """For connections to archives.

        Raises:
          SettingError: a file cannot be used.
        """
        return self._context(ssl.Purpose.SERVER_AUTH)

    def _context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(purpose, cafile=str(self.authorities))
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            files = ', '.join(str(path) for path in (self.certificate, self.key, self.authorities))
            raise SettingError(f'TLS with {files}: {error}') from None
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


@dataclass(frozen=True)
class PacsSettings:
    """The exchange with an archive.

    Attributes:
      host, port: where the receiver listens; port None for no receiver, 0 for any free one.
      ae_title: of the gateway.
      peers: who may send; empty for everybody.
      targets: who gets the reports.
      report_after_s: seconds without a new image after which a study is reported.
      commits: whether requests for storage commitment are answered.
      tls: of the receiver and of `dicoms` targets; None for none.
      max_associations: at the same time.
      timeout_s: for the next message of an association.
    """

    host: str = '127.0.0.1'
    port: int | None = None
    ae_title: str = DEFAULT_AE_TITLE
    peers: tuple[Peer, ...] = ()
    targets: tuple[Target, ...] = ()
    report_after_s: float = DEFAULT_REPORT_AFTER_S
    commits: bool = False
    tls: Tls | None = None
    max_associations: int = 64
    timeout_s: float = 30.0
