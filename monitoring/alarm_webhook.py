"""Tells another system the result of a check, by the webhook of the service's reports."""

from __future__ import annotations

import json
import time
import urllib.parse
import uuid
from pathlib import Path

from monitoring.checks import Check
from serving.notice import RESEARCH_USE
from serving.pacs import http_targets
from serving.pacs.settings import SettingError, Target

# Before each further attempt.
_PAUSES_S = (1.0, 5.0, 15.0)
_TIMEOUT_S = 10.0


def target(url: str, key_file: Path) -> Target:
    """The webhook at a URL, whose key is the content of a file.

    Raises:
      SettingError: the URL or the key has another form.
      OSError: the file cannot be read.
    """
    scheme, _, place = url.partition('://')
    key = key_file.read_text(encoding='utf-8').strip()
    if scheme not in ('http', 'https') or '@' in place:
        raise SettingError(f'--webhook {url}: expected https://HOST/PATH')
    try:
        return Target.parse(f'webhook+{scheme}://:{urllib.parse.quote(key, safe="")}@{place}')
    except SettingError:
        raise SettingError(
            f'--webhook {url}, --webhook-key {key_file}: expected https://HOST/PATH, and a file '
            'with whsec_KEY, with what `openssl rand -hex 32` prints as KEY'
        ) from None


def content(check: Check) -> bytes:
    """JSON: which sites alarm, and in what; nothing about images, readers or patients."""
    body = {
        'at': check.at.isoformat(timespec='seconds'),
        'version': check.version,
        'alarm': check.is_alarm,
        'alpha': check.alpha,
        'sites': [
            {
                'site': site.window.site,
                'alarm': site.is_alarm,
                'studies': site.window.studies,
                'differences': sorted(
                    {item.name for compared in site.compared for item in compared.alarms}
                ),
            }
            for site in check.sites
        ],
        'notice': RESEARCH_USE,
    }
    return json.dumps(body).encode()


def send(webhook: Target, check: Check) -> str:
    """Sends the result, up to four times; returns '' or why it was not accepted."""
    body, id = content(check), uuid.uuid4().hex
    problem = http_targets.call_webhook(webhook, _TIMEOUT_S, body, id)
    for seconds in _PAUSES_S:
        if not problem:
            break
        time.sleep(seconds)
        problem = http_targets.call_webhook(webhook, _TIMEOUT_S, body, id)
    return problem
