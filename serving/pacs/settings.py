"""What can be set about the exchange with an archive."""

from __future__ import annotations

import base64
import enum
import re
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_AE_TITLE = 'CXRTRIAGE'
DEFAULT_REPORT_AFTER_S = 5.0
# 16 characters of the basic set, without the backslash that separates values.
_AE_TITLE = r'[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?'
_DICOM, _DICOM_TLS, _HTTP = 'dicom', 'dicoms', ('http', 'https')
# The form and the least length of a key in the specification Standard Webhooks.
_SECRET_PREFIX, _LEAST_KEY_BYTES = 'whsec', 24


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


class Kind(enum.Enum):
    """How a target takes reports."""

    C_STORE = 'C-STORE'
    STOW_RS = 'STOW-RS'
    FHIR = 'FHIR'
    WEBHOOK = 'webhook'


# What precedes the protocol in the URL of a target.
_KINDS = {'': Kind.STOW_RS, 'fhir': Kind.FHIR, 'webhook': Kind.WEBHOOK}


@dataclass(frozen=True)
class Target:
    """A system that gets the reports.

    Attributes:
      name: its address without a password, as the database and the log have it.
      kind: how it takes them.
      peer: where it takes C-STORE; None for the other kinds.
      url: where it takes HTTP; '' for C-STORE.
      is_tls: whether C-STORE is encrypted.
      user, password: for HTTP. A password without a user is a bearer token; that of a webhook is
        the key of its signature.
    """

    name: str
    kind: Kind
    peer: Peer | None = None
    url: str = ''
    is_tls: bool = False
    user: str = ''
    password: str = field(default='', repr=False)

    @property
    def names_patients(self) -> bool:
        """Whether its reports say whose image was assessed."""
        return names_patients(self.name)

    @classmethod
    def parse(cls, text: str) -> Target:
        """The target of a URL in one of the forms of `--report-to`.

        Raises:
          SettingError: it has another form.
        """
        scheme, _, rest = text.partition('://')
        if scheme in (_DICOM, _DICOM_TLS):
            peer = Peer.parse(rest.rstrip('/'))
            if not peer.port:
                raise SettingError(f'{text!r}: expected {scheme}://TITLE@HOST:PORT')
            return cls(text.rstrip('/'), Kind.C_STORE, peer, is_tls=scheme == _DICOM_TLS)
        prefix, _, protocol = scheme.rpartition('+')
        parts = urllib.parse.urlsplit(f'{protocol}://{rest}')
        place = parts.netloc.rpartition('@')[2]
        shown = f'{scheme}://…' if '@' in text else repr(text)
        if protocol not in _HTTP or prefix not in _KINDS or not parts.hostname:
            raise SettingError(
                f'{shown}: expected dicom://TITLE@HOST:PORT, dicoms://TITLE@HOST:PORT, '
                'https://[USER:PASSWORD@]HOST/PATH, fhir+https://[USER:PASSWORD@]HOST/PATH or '
                'webhook+https://:SECRET@HOST/PATH'
            )
        if parts.query or parts.fragment:
            raise SettingError(f'{shown}: expected a URL without ? and #')
        kind = _KINDS[prefix]
        path = parts.path if kind is Kind.WEBHOOK else parts.path.rstrip('/')
        url = f'{protocol}://{place}{path}'
        user, password = (
            urllib.parse.unquote(part or '') for part in (parts.username, parts.password)
        )
        if kind is Kind.WEBHOOK and (user or not webhook_key(password)):
            raise SettingError(
                f'{shown}: expected a key for the signature, as in '
                'webhook+https://:whsec_KEY@HOST/PATH, with what `openssl rand -hex 32` prints as '
                'KEY'
            )
        name = f'{prefix}+{url}' if prefix else url
        return cls(name, kind, url=url, user=user, password=password)


def names_patients(target: str) -> bool:
    """Whether the reports of a target of this name say whose image was assessed."""
    return not target.startswith('webhook+')


def webhook_key(secret: str) -> bytes:
    """The key in the secret of a webhook; b'' if it has none of 24 bytes or more."""
    prefix, _, text = secret.partition('_')
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        return b''
    return key if prefix == _SECRET_PREFIX and len(key) >= _LEAST_KEY_BYTES else b''


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
      report_days: how many days reports that no target accepts keep image files from being
        deleted; 0 for any number.
      commits: whether requests for storage commitment are answered.
      tls: of the receiver and of `dicoms` targets; None for none.
      max_associations: at the same time.
      timeout_s: for the next message of an association.
      sites: title of a sender -> site of what it sends.
    """

    host: str = '127.0.0.1'
    port: int | None = None
    ae_title: str = DEFAULT_AE_TITLE
    peers: tuple[Peer, ...] = ()
    targets: tuple[Target, ...] = ()
    report_after_s: float = DEFAULT_REPORT_AFTER_S
    report_days: int = 0
    commits: bool = False
    tls: Tls | None = None
    max_associations: int = 64
    timeout_s: float = 30.0
    sites: Mapping[str, str] = field(default_factory=dict)
