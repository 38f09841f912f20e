"""The loop with real parts: drift, alarm, readings, new span, run, canary, stable, no alarm."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from cli.auto_release import PROMOTED
from pipeline.exit_codes import NOT_NEEDED
from records import tfrecord
from records.examples import XrayRecord, parse
from serving import running
from tests.support import pipeline_runs as runs
from tests.support.program import Program, Running

pytestmark = pytest.mark.slow

_WINDOW = 40
_NO_ALARM, _ALARM = 0, 1
# Drawn images of two patients may look alike.
_RUN = ('--set', 'gate.max_share.near_duplicate_across_splits=0.05')
_CANARY = ('--set', 'push.release=canary')


def _drawn(program: Program, folder: Path, count: int) -> list[XrayRecord]:
    """New synthetic images, one for each patient: the service does not know patients."""
    synth = ('synth', '--out', folder, '--count', str(4 * count), '--seed', '11')
    done = program.start(*synth).finish()
    assert done.exit_code == 0, done.screen
    paths = sorted((folder / 'data').glob('*.tfrec'))
    records = [parse(item.payload) for path in paths for item in tfrecord.read(str(path))]
    first = [record for record in records if (record.image_id or '').endswith('_000.png')]
    assert len(first) >= count
    return first[:count]


def _of_another_machine(content: bytes) -> bytes:
    """With less contrast."""
    values = np.asarray(Image.open(io.BytesIO(content)).convert('L')).astype(float)
    stream = io.BytesIO()
    Image.fromarray((values * 0.7 + 40).astype(np.uint8)).save(stream, 'PNG')
    return stream.getvalue()


class _Hospital:
    """Who uploads images, and who reads them."""

    def __init__(self, service: Running):
        service.wait_for(lambda: re.search(r'http://[\d.]+:\d+', service.screen))
        self._url = re.search(r'http://[\d.]+:\d+', service.screen)[0]

    def send(self, records: Sequence[XrayRecord]) -> list[str]:
        """Uploads each image as a study, waits for the answers, and returns the ids."""
        ids = []
        for record in records:
            files = [('files', ('image.png', _of_another_machine(record.image)))]
            answer = self._post('/v1/studies', files=files, headers={'Prefer': 'wait=60'})
            assert answer['state'] == 'scored', answer
            ids.append(answer['id'])
        return ids

    def read(self, ids: Sequence[str], records: Sequence[XrayRecord]) -> None:
        """Records what each image shows."""
        for id, record in zip(ids, records, strict=True):
            verdict = 'normal' if record.labels['No Finding'] else 'abnormal'
            self._post(f'/v1/studies/{id}/reading', json={'verdict': verdict})

    def _post(self, path: str, **content) -> dict:
        answer = requests.post(self._url + path, timeout=120, **content)
        assert answer.ok, answer.text
        return answer.json()


def test_the_next_model_takes_over_after_a_drift(program: Program, tmp_path: Path) -> None:
    # Of its own, as other tests use the same sources with their data.
    own = Program(program.source, program.config, tmp_path / 'images', tmp_path)
    shutil.copytree(program.data, own.data)
    root, records = tmp_path / 'root', _drawn(own, tmp_path / 'drawn', 4 * _WINDOW)
    parts = [records[start : start + _WINDOW] for start in range(0, len(records), _WINDOW)]

    def finish(code: int, *command: str | Path) -> str:
        done = own.start(*command, *('--root', root)).finish()
        assert done.exit_code == code, done.screen
        return done.screen

    first_run = own.run(root, *_RUN)
    assert first_run.exit_code == 0, first_run.screen
    first = runs.newest_version(root / 'serving').name
    monitor = ('monitor', '--window', str(_WINDOW), '--alpha', '0.05')
    alarm = root / running.FOLDER / 'monitor' / 'monitor.json'

    service = own.start('serve', '--port', '0', '--canary-share', '1', '--root', root)
    try:
        hospital = _Hospital(service)
        hospital.read(hospital.send(parts[0]), parts[0])
        finish(_ALARM, *monitor)

        screen = finish(
            0, 'collect', '--out', own.data, '--patient-key', tmp_path / 'key', '--share', '1'
        )
        assert f'{_WINDOW} images of {_WINDOW} studies' in screen
        second_run = own.run(root, '--if-needed', '--alarm', alarm, *_RUN, *_CANARY)
        assert second_run.exit_code == 0, second_run.screen
        assert 'new span' in second_run.screen
        second = runs.newest_version(root / 'serving').name
        assert int(second) > int(first)
        again = own.run(root, '--if-needed', *_RUN, *_CANARY)
        assert again.exit_code == NOT_NEEDED, again.screen

        hospital.send(parts[1])
        # Few images were tested, so that only a wide margin lets few answers decide.
        auto = ('models', 'auto', '--answers', str(_WINDOW), '--margin', '0.5')
        assert f'{second} is stable' in finish(PROMOTED, *auto)

        # Most of the test images are still those of the old machine.
        hospital.send(parts[2])
        finish(_NO_ALARM, *monitor, '--accept')
        hospital.send(parts[3])
        finish(_NO_ALARM, *monitor)
        result = json.loads(alarm.read_text())
        assert (result['alarm'], str(result['version'])) == (False, second)
        (site,) = result['sites']
        assert [item['name'] for item in site['compared']] == ['accepted window']
    finally:
        service.stop()
