"""Accession numbers: in the database they are keyed hashes."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from serving.database import connection
from serving.database.tables import Study
from serving.pacs import accession
from serving.pacs.settings import PacsSettings
from tests.support import gateways

_NUMBER = 'RX-2026/0815'


def test_all_who_start_at_the_same_time_use_one_key(tmp_path: Path) -> None:
    folder = tmp_path / 'service'
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(accession.load_key, [folder] * 16))
    assert len(keys) == 1
    assert [path.name for path in folder.iterdir()] == [accession.KEY_FILE]
    assert stat.S_IMODE((folder / accession.KEY_FILE).stat().st_mode) == 0o600


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / accession.KEY_FILE).write_bytes(b'short')
    with pytest.raises(
        accession.KeyFileError, match=r'accession\.key has 5 bytes: expected a key of 32'
    ):
        accession.load_key(tmp_path)


def test_a_hash_depends_on_key_and_number_and_not_on_padding() -> None:
    first = accession.keyed(b'1' * 32, _NUMBER)
    assert first == accession.keyed(b'1' * 32, f' {_NUMBER} ')
    assert first != accession.keyed(b'2' * 32, _NUMBER)
    assert first != accession.keyed(b'1' * 32, f'{_NUMBER}6')
    assert accession.keyed(b'1' * 32, '  ') is None


def test_the_number_of_a_study_is_not_in_the_database(tmp_path: Path) -> None:
    url = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    pushed = tmp_path / 'pushed'
    pushed.mkdir()
    with gateways.running(tmp_path, url, pushed, pacs=PacsSettings(port=0)) as gateway:
        intake = gateway.services.pacs.intake
        # The second image of the study has no number, and does not remove it.
        for instance, number in (('1.2.3.1', _NUMBER), ('1.2.3.2', '')):
            content = gateways.dicom(
                gateways.pixels(1),
                StudyInstanceUID='1.2.3',
                SOPInstanceUID=instance,
                AccessionNumber=number,
            )
            identity = intake.accept(content, 'dicom:ROOM1')
            assert _NUMBER not in repr(identity)
        with gateway.services.sessions() as session:
            stored = session.scalars(select(Study.accession_key)).all()
        assert stored == [accession.keyed(accession.load_key(tmp_path), _NUMBER)]
        engine = gateway.services.sessions.kw['bind']
        engine.dispose()
    kept = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert not [path for path in kept if _NUMBER.encode() in path.read_bytes()]
