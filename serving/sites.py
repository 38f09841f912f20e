"""Sites: where studies come from, such as a hospital or a scanner.

A study belongs to the site of the token that uploaded it, or of the DICOM sender, or else to that
of its gateway. '' is the site without a name.
"""

from __future__ import annotations

MAX_LENGTH = 64


class SiteError(ValueError):
    """A name that no site can have; the text says what was expected."""


def check(name: str) -> str:
    """The name of a site, '' for the one without a name.

    Raises:
      SiteError: it is too long, or has characters that cannot be shown.
    """
    if len(name) > MAX_LENGTH or not name.isprintable() or name != name.strip():
        raise SiteError(
            f'site {name[:MAX_LENGTH]!r}: expected at most {MAX_LENGTH} printable characters, '
            'without spaces at the ends'
        )
    return name


def shown(name: str) -> str:
    """What persons read after the word "site"."""
    return name or 'without a name'
