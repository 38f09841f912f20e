"""DataGate: what it lets pass, what it stops, what it says; anomalies are TFDV's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from pydantic import ValidationError
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import Channel

from components.data_audit.artifact import DataAuditReport
from components.data_audit.kinds import KINDS
from components.data_audit.parameters import AuditParameters
from components.data_gate.artifact import DataBlessing
from components.data_gate.component import DataGate
from components.data_gate.executor import Executor
from components.data_gate.limits import DEFAULT_MAX_SHARE, GateLimits
from components.data_gate.rules import FOUND_BY, DataGateError
from components.xray_example_gen.artifact import IngestReport
from schemas.features import SPLITS
from tests.support import audit_data as data

_SCHEMA = text_format.Parse(
    """
    feature { name: "No Finding" type: INT value_count { min: 1 max: 1 }
      presence { min_fraction: 1 } int_domain { min: 0 max: 1 } }
    feature { name: "sex" type: BYTES presence { min_fraction: 1 } domain: "sex"
      drift_comparator { infinity_norm { threshold: 0.1 } }
      skew_comparator { infinity_norm { threshold: 0.2 } } }
    string_domain { name: "sex" value: "F" value: "M" }
    """,
    schema_pb2.Schema(),
)


def _statistics(**columns: list):
    return tfdv.generate_statistics_from_dataframe(
        pd.DataFrame({'No Finding': [0, 1] * 10, 'sex': ['F', 'M'] * 10, **columns})
    )


@pytest.fixture(scope='module')
def anomalies() -> dict[str, anomalies_pb2.Anomalies]:
    """What TFDV says of clean and of bad statistics."""
    clean = _statistics()
    drifted = _statistics(sex=['F'] * 18 + ['M'] * 2)
    return {
        'clean': tfdv.validate_statistics(clean, _SCHEMA),
        'label 7': tfdv.validate_statistics(_statistics(**{'No Finding': [0, 7] * 10}), _SCHEMA),
        'new column': tfdv.validate_statistics(_statistics(extra=[1] * 20), _SCHEMA),
        'drift': tfdv.validate_statistics(drifted, _SCHEMA, previous_statistics=clean),
        'within drift': tfdv.validate_statistics(clean, _SCHEMA, previous_statistics=clean),
    }


def _audit(**counts: int) -> dict[str, Any]:
    """audit.json with `counts` of some kinds, of 1,000 each."""
    issues = []
    for kind in KINDS.values():
        count = counts.get(kind.name, 0)
        example = {
            'image_id': '00000001_000.png',
            'split': 'train',
            'file': 'f',
            'record': 3,
            'detail': f'a {kind.name}',
        }
        issues.append(
            {
                'kind': kind.name,
                'severity': kind.severity,
                'unit': kind.unit,
                'title': kind.title,
                'action': kind.remedy,
                'count': count,
                'total': 1000,
                'share': count / 1000,
                'splits': {'train': count} if count else {},
                'examples': [example] if count else [],
            }
        )
    return {'images': 1000, 'issues': issues}


def _ingest(quarantined: int = 0, held: int = 100) -> dict[str, Any]:
    files = [
        {'file': '000-100.tfrec', 'promised': 100, 'held': held, 'damaged': 0},
        {'file': 'x.tfrec', 'promised': None, 'held': 7, 'damaged': 0},
    ]
    return {
        'records_in': 1000,
        'records_out': 1000 - quarantined,
        'quarantined': quarantined,
        'files': files,
    }


class Gate:
    """Runs the executor on artifacts in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = folder / 'stateful'

    def __call__(
        self,
        found: dict[str, anomalies_pb2.Anomalies],
        audit: dict[str, Any] | None = None,
        ingest: dict[str, Any] | None = None,
        **limits: Any,
    ) -> dict[str, Any]:
        anomalies = standard_artifacts.ExampleAnomalies()
        anomalies.uri = str(self.folder / 'anomalies')
        anomalies.split_names = artifact_utils.encode_split_names(list(found))
        for split, proto in found.items():
            self._write(
                Path(anomalies.uri) / f'Split-{split}' / 'SchemaDiff.pb', proto.SerializeToString()
            )
        report, blessing, ingested = DataAuditReport(), DataBlessing(), IngestReport()
        report.uri, blessing.uri, ingested.uri = (
            str(self.folder / name) for name in ('audit', 'blessing', 'ingest')
        )
        if audit is not None:
            self._write(Path(report.uri) / 'audit.json', json.dumps(audit).encode())
        inputs = {'anomalies': [anomalies], 'audit': [report]}
        if ingest is not None:
            self._write(Path(ingested.uri) / 'ingest.json', json.dumps(ingest).encode())
            inputs['ingest_report'] = [ingested]
        executor = Executor(Executor.Context(stateful_working_dir=str(self.kept)))
        executor.Do(
            inputs, {'blessing': [blessing]}, {'limits': json.dumps(limits), 'code_digest': ''}
        )
        assert blessing.get_int_custom_property('blessed') == 1
        return self.verdict()

    def verdict(self) -> dict[str, Any]:
        return json.loads((self.folder / 'blessing/gate.json').read_text())

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def gate(tmp_path) -> Gate:
    return Gate(tmp_path)


def _rules(verdict: dict[str, Any], state: str) -> list[tuple[str, str, str]]:
    return [
        (rule['source'], rule['name'], rule['where'])
        for rule in verdict['rules']
        if rule['verdict'] == state
    ]


def test_clean_data_is_blessed(gate, anomalies):
    verdict = gate({'train': anomalies['clean'], 'test': anomalies['clean']}, _audit(), _ingest())
    assert verdict['blessed']
    assert verdict['counts'] == {'failed': 0, 'warning': 0, 'passed': len(KINDS) + 3}
    assert not gate.kept.exists()


@pytest.mark.parametrize('kind', DEFAULT_MAX_SHARE)
def test_each_default_limit_stops(gate, anomalies, kind):
    with pytest.raises(
        DataGateError, match=rf'(?s){kind} \[train 900\]: 900 of 1,000 .*90 %.*allowed'
    ) as caught:
        gate({'train': anomalies['clean']}, _audit(**{kind: 900}))
    assert KINDS[kind].remedy in str(caught.value)
    assert f'{gate.folder}/audit/audit.html' in str(caught.value)
    assert f'{gate.kept}/gate.json' in str(caught.value)
    verdict = gate.verdict()
    assert not verdict['blessed']
    assert _rules(verdict, 'failed') == [('audit', kind, 'train 900')]
    assert json.loads((gate.kept / 'gate.json').read_text()) == verdict


@pytest.mark.parametrize('kind', sorted(set(KINDS) - set(DEFAULT_MAX_SHARE)))
def test_a_kind_without_a_limit_only_warns(gate, anomalies, kind):
    verdict = gate({'train': anomalies['clean']}, _audit(**{kind: 900}))
    assert verdict['blessed']
    assert _rules(verdict, 'warning') == [('audit', kind, 'train 900')]


@pytest.mark.parametrize(
    ('count', 'limit', 'passes'),
    [
        pytest.param(10, 0.01, True, id='at the limit'),
        pytest.param(11, 0.01, False, id='above the limit'),
        pytest.param(1, 0, False, id='one at a limit of 0'),
        pytest.param(0, 0, True, id='none at a limit of 0'),
        pytest.param(1000, 1, True, id='all at a limit of 1'),
        pytest.param(1000, None, True, id='limit taken away'),
    ],
)
def test_limit_of_a_share(gate, anomalies, count, limit, passes):
    arguments = {'train': anomalies['clean']}, _audit(undecodable=count)
    if passes:
        assert gate(*arguments, max_share={'undecodable': limit})['blessed']
    else:
        with pytest.raises(DataGateError, match='undecodable'):
            gate(*arguments, max_share={'undecodable': limit})


def test_one_of_very_many_is_above_zero(gate, anomalies):
    audit = _audit(undecodable=1)
    next(issue for issue in audit['issues'] if issue['kind'] == 'undecodable').update(
        total=10**9, share=0.0
    )
    with pytest.raises(DataGateError, match='1 of 1,000,000,000 images'):
        gate({'train': anomalies['clean']}, audit)


@pytest.mark.parametrize(
    ('divisor', 'kind'),
    [(21, 'blank'), (6, 'low_contrast')],
    ids=['12 grey levels', '40 grey levels'],
)
def test_a_run_in_which_most_films_show_nothing_stops(gate, anomalies, tmp_path, divisor, kind):
    """As when 12-bit data in 16-bit files loses its lower bits on the way into the records."""
    films = []
    for place in range(24):
        image = data.decode(data.draw(place % 8))
        image = image if place < 6 else image.point(lambda value: value // divisor)
        films.append(
            data.Example(
                data.encode(image, format='PNG', quality=None),
                f'{place:08d}_000.png',
                SPLITS[place % 4],
            )
        )
    data.run_audit(tmp_path / 'out', data.write_examples(tmp_path / 'examples', films))
    audit = json.loads((tmp_path / 'out/audit.json').read_text())
    with pytest.raises(
        DataGateError, match=rf'{kind} .*18 of 24 images .*\(gate\.max_share\.{kind}\)'
    ):
        gate({'train': anomalies['clean']}, audit)


def test_message_lists_everything_at_once(gate, anomalies):
    with pytest.raises(DataGateError) as caught:
        gate(
            {'train': anomalies['label 7'], 'val': anomalies['clean']},
            _audit(undecodable=5, patient_in_two_splits=2, wrong_size=4),
            _ingest(quarantined=20),
        )
    text = str(caught.value)
    assert text.startswith('the data breaks 3 of its limits:')
    for part in (
        'No Finding [train]: error',
        'undecodable [train 5]',
        'patient_in_two_splits',
        'allowed 0 % (gate.max_share.undecodable)',
        'gate.anomaly_level',
        '00000001_000.png (train, record 3)',
    ):
        assert part in text
    assert 'wrong_size' not in text
    assert 'Warnings: 2' in text


@pytest.mark.parametrize(
    ('what', 'level', 'failed'),
    [
        ('label 7', 'error', ['No Finding']),
        ('label 7', 'warning', ['No Finding']),
        ('label 7', 'none', []),
        ('new column', 'error', ['extra']),
        ('drift', 'error', ['sex']),
        ('drift', 'none', []),
        ('within drift', 'warning', []),
    ],
)
def test_anomalies_of_tfdv_stop_by_level(gate, anomalies, what, level, failed):
    arguments = {'train': anomalies[what]}, _audit()
    if not failed:
        assert gate(*arguments, anomaly_level=level)['blessed']
        return
    with pytest.raises(DataGateError, match=failed[0]):
        gate(*arguments, anomaly_level=level)
    assert [(name, where) for _, name, where in _rules(gate.verdict(), 'failed')] == [
        (failed[0], 'train')
    ]


@pytest.mark.parametrize('kind', sorted(KINDS))
def test_a_message_names_the_keys_that_change_it(gate, anomalies, kind):
    """Both of a stop and of a warning."""
    verdict = gate(
        {'train': anomalies['clean']}, _audit(**{kind: 900}), max_share=dict.fromkeys(KINDS)
    )
    (rule,) = (rule for rule in verdict['rules'] if rule['name'] == kind)
    assert f'no limit (gate.max_share.{kind})' in rule['text']
    with pytest.raises(DataGateError, match=rf'allowed 1 % \(gate\.max_share\.{kind}\)') as caught:
        gate({'train': anomalies['clean']}, _audit(**{kind: 900}), max_share={kind: 0.01})
    for name in FOUND_BY.get(kind, ()):
        assert f'audit.{name}' in rule['action'] and f'audit.{name}' in str(caught.value)


def test_the_keys_that_are_named_exist():
    assert set(FOUND_BY) <= set(KINDS)
    assert {name for names in FOUND_BY.values() for name in names} <= set(
        AuditParameters.model_fields
    )


def test_an_anomaly_names_its_key(gate, anomalies):
    with pytest.raises(
        DataGateError, match=r'No Finding \[train\]: error.*\(gate\.anomaly_level is error\)'
    ):
        gate({'train': anomalies['label 7']}, _audit())


def test_a_distance_that_is_not_a_number_does_not_pass(gate):
    text = (
        'drift_skew_info { path { step: "sex" } drift_measurements { type: L_INFTY value: nan '
        'threshold: 0.2 } }'
    )
    with pytest.raises(DataGateError, match='drift nan'):
        gate({'val': text_format.Parse(text, anomalies_pb2.Anomalies())}, _audit())


def test_drift_is_listed_with_its_threshold(gate, anomalies):
    found = gate({'train': anomalies['within drift']}, _audit())['rules']
    rules = [
        rule
        for rule in found
        if rule['source'] == 'anomalies' and rule['limit'] == pytest.approx(0.1)
    ]
    assert [(rule['name'], rule['verdict'], rule['found']) for rule in rules] == [
        ('sex', 'passed', 0.0)
    ]


@pytest.mark.parametrize(
    ('severity', 'level', 'passes'),
    [
        ('WARNING', 'error', True),
        ('WARNING', 'warning', False),
        ('ERROR', 'error', False),
        ('UNKNOWN', 'error', False),
        ('ERROR', 'none', True),
    ],
)
def test_severity(gate, severity, level, passes):
    found = anomalies_pb2.Anomalies()
    found.anomaly_info['image'].severity = anomalies_pb2.AnomalyInfo.Severity.Value(severity)
    found.anomaly_info['image'].short_description = 'odd'
    if passes:
        assert ('anomalies', 'image', 'train') in _rules(
            gate({'train': found}, _audit(), anomaly_level=level), 'warning'
        )
    else:
        with pytest.raises(DataGateError, match=r'image \[train\]'):
            gate({'train': found}, _audit(), anomaly_level=level)


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ('data_missing: true', 'data'),
        (
            'dataset_anomaly_info { severity: ERROR short_description: "too few examples" }',
            'data set',
        ),
        (
            'drift_skew_info { path { step: "sex" } skew_measurements { type: L_INFTY value: 0.4 '
            'threshold: 0.2 } }',
            'sex',
        ),
    ],
    ids=['no data', 'data set', 'skew without an anomaly'],
)
def test_what_is_not_of_a_feature_stops_too(gate, text, name):
    with pytest.raises(DataGateError):
        gate({'val': text_format.Parse(text, anomalies_pb2.Anomalies())}, _audit())
    assert _rules(gate.verdict(), 'failed') == [('anomalies', name, 'val')]


def test_nothing_validated_is_not_blessed(gate):
    with pytest.raises(DataGateError, match='checked no split'):
        gate({}, _audit())


def test_no_images_is_not_blessed(gate, anomalies):
    with pytest.raises(DataGateError, match='there are no images'):
        gate({'train': anomalies['clean']}, {**_audit(), 'images': 0})


def test_quarantine_and_counts(gate, anomalies):
    verdict = gate({'train': anomalies['clean']}, _audit(), _ingest(quarantined=3, held=97))
    assert _rules(verdict, 'warning') == [
        ('ingest', 'quarantine', ''),
        ('ingest', 'record_count', '000-100.tfrec'),
    ]


def test_an_audit_of_other_films_than_ingestion_wrote_is_not_blessed(gate, anomalies):
    ingest = {**_ingest(), 'splits': {'train': {'records': 700}, 'test': {'records': 300}}}
    audit = {
        **_audit(),
        'splits': [{'split': 'train', 'images': 700}, {'split': 'test', 'images': 278}],
    }
    with pytest.raises(
        DataGateError, match=r'test.*the audit read 278 images, ingestion wrote 300'
    ):
        gate({'train': anomalies['clean']}, audit, ingest)
    assert _rules(gate.verdict(), 'failed') == [('ingest', 'films', 'test')]
    audit['splits'][1]['images'] = 300
    assert _rules(gate({'train': anomalies['clean']}, audit, ingest), 'failed') == []


def test_missing_and_broken_inputs_are_named(gate, anomalies):
    with pytest.raises(DataGateError, match=r'audit/audit.json is missing'):
        gate({'train': anomalies['clean']})
    (gate.folder / 'audit').mkdir()
    (gate.folder / 'audit/audit.json').write_text('{')
    with pytest.raises(DataGateError, match=r'audit/audit.json is not valid JSON'):
        gate({'train': anomalies['clean']})


def test_an_audit_of_another_version_is_refused(gate, anomalies):
    audit = _audit()
    audit['issues'] = [issue for issue in audit['issues'] if issue['kind'] != 'undecodable']
    with pytest.raises(DataGateError, match='did not look for undecodable'):
        gate({'train': anomalies['clean']}, audit)


@pytest.mark.parametrize(
    ('limits', 'message'),
    [
        ({'max_share': {'undecodeable': 0}}, 'undecodeable.*Known:.*undecodable'),
        ({'max_share': {'undecodable': 1.5}}, 'undecodable is 1.5'),
        ({'max_share': {'undecodable': 'many'}}, 'undecodable'),
        ({'max_share': []}, 'max_share'),
        ({'anomaly_level': 'fatal'}, "'error', 'warning' or 'none'"),
        ({'max_shares': {}}, 'max_shares'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_limits_are_refused(limits, message):
    with pytest.raises(ValidationError, match=message):
        GateLimits.model_validate_json(json.dumps(limits))


def test_given_limits_are_laid_over_the_defaults():
    limits = GateLimits.model_validate(
        {'max_share': {'undecodable': 0.1, 'too_large': None, 'wrong_size': 0}}
    )
    assert limits.max_share == {
        **DEFAULT_MAX_SHARE,
        'undecodable': 0.1,
        'too_large': None,
        'wrong_size': 0,
    }
    assert GateLimits.model_validate_json(limits.model_dump_json()) == limits


def test_component():
    channels = Channel(type=standard_artifacts.ExampleAnomalies), Channel(type=DataAuditReport)
    alone = DataGate(*channels, limits='{}', code_digest='abc')
    assert set(alone.inputs) == {'anomalies', 'audit'}
    assert alone.outputs['blessing'].type_name == 'components.DataBlessing'
    assert set(DataGate(*channels, Channel(type=IngestReport)).inputs) == {
        'anomalies',
        'audit',
        'ingest_report',
    }
