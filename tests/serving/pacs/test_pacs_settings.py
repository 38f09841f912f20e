"""Settings of the exchange with an archive."""

from __future__ import annotations

import pytest

from serving.pacs.settings import Kind, Peer, SettingError, Target, webhook_key


@pytest.mark.parametrize(
    ('text', 'peer'),
    [
        ('ARCHIVE', Peer('ARCHIVE')),
        ('ROOM 1', Peer('ROOM 1')),
        ('ARCHIVE@pacs', Peer('ARCHIVE', 'pacs')),
        ('ARCHIVE@10.0.0.7:104', Peer('ARCHIVE', '10.0.0.7', 104)),
    ],
)
def test_peers(text: str, peer: Peer) -> None:
    assert Peer.parse(text) == peer


@pytest.mark.parametrize(
    'text', ['', 'TITLE_WITH_17_CHARS', 'A\\B', 'A@', '@host', 'A@host:', 'A@host:x', ' A', 'Ä']
)
def test_a_peer_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match='expected TITLE, TITLE@HOST or TITLE@HOST:PORT'):
        Peer.parse(text)


def test_targets() -> None:
    plain = Target.parse('dicom://ARCHIVE@pacs:104')
    assert (plain.peer, plain.is_tls) == (Peer('ARCHIVE', 'pacs', 104), False)
    assert Target.parse('dicoms://ARCHIVE@pacs:2762').is_tls
    web = Target.parse('https://cxr:p%40ss@pacs:8043/dicom-web/')
    assert (web.name, web.url) == ('https://pacs:8043/dicom-web', 'https://pacs:8043/dicom-web')
    assert (web.user, web.password) == ('cxr', 'p@ss')


def test_targets_of_other_kinds() -> None:
    fhir = Target.parse('fhir+https://:token@server/r4/')
    assert (fhir.kind, fhir.name, fhir.url) == (
        Kind.FHIR,
        'fhir+https://server/r4',
        'https://server/r4',
    )
    assert (fhir.user, fhir.password) == ('', 'token')
    webhook = Target.parse(f'webhook+https://:whsec_{"ab" * 32}@server/hook/')
    assert (webhook.kind, webhook.name) == (Kind.WEBHOOK, 'webhook+https://server/hook/')
    assert len(webhook_key(webhook.password)) == 48
    assert 'whsec' not in repr(webhook)
    assert (fhir.names_patients, webhook.names_patients) == (True, False)


@pytest.mark.parametrize(
    'secret', ['', ':hunter2', ':whsec_hunter2', f':{"ab" * 32}', f'user:whsec_{"ab" * 32}']
)
def test_a_webhook_needs_a_key(secret: str) -> None:
    with pytest.raises(SettingError, match='expected a key for the signature') as caught:
        Target.parse(f'webhook+https://{secret}@server/hook')
    assert 'hunter2' not in str(caught.value)


@pytest.mark.parametrize('end', ['?a=b', '#a'])
def test_a_url_with_parts_that_are_not_used_is_refused(end: str) -> None:
    with pytest.raises(SettingError, match='without'):
        Target.parse(f'https://server/dicom-web{end}')


@pytest.mark.parametrize(
    'text', ['pacs:104', 'dicom://ARCHIVE@pacs', 'ftp://pacs', 'https://', 'hl7+https://pacs']
)
def test_a_target_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match='expected dicom'):
        Target.parse(text)


def test_a_refused_target_does_not_show_its_password() -> None:
    with pytest.raises(SettingError) as caught:
        Target.parse('htps://cxr:hunter2@pacs/dicom-web')
    assert 'hunter2' not in str(caught.value)
