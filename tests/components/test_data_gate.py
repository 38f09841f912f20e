"""DataGate: which anomalies and issues stop a run, which only warn, and what the message says."""

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
from components.data_audit.kinds import FOUND_BY, KINDS
from components.data_audit.parameters import AuditParameters
from components.data_gate.artifact import DataBlessing
from components.data_gate.component import DataGate
from components.data_gate.executor import Executor
from components.data_gate.limits import DEFAULT_MAX_SHARE, GateLimits
from components.data_gate.rules import DataGateError
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
    """The anomalies that TFDV finds in clean and in bad statistics."""
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
    """The content of audit.json for 1,000 images; `counts` gives the issues of some kinds."""
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


def _ingest(quarantined: int = 0, records: int = 100) -> dict[str, Any]:
    """The content of ingest.json; the first file has `records` of the 100 that its name says."""
    files = [
        {'file': '000-100.tfrec', 'promised': 100, 'held': records, 'damaged': 0},
        {'file': 'x.tfrec', 'promised': None, 'held': 7, 'damaged': 0},
    ]
    return {
        'records_in': 1000,
        'records_out': 1000 - quarantined,
        'quarantined': quarantined,
        'files': files,
    }


class Gate:
    """Runs the executor on artifacts in a folder, and reads its verdict."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stateful = folder / 'stateful'

    def __call__(
        self,
        anomalies_by_split: dict[str, anomalies_pb2.Anomalies],
        audit: dict[str, Any] | None = None,
        ingest: dict[str, Any] | None = None,
        **limits: Any,
    ) -> dict[str, Any]:
        anomalies = standard_artifacts.ExampleAnomalies()
        anomalies.uri = str(self.folder / 'anomalies')
        anomalies.split_names = artifact_utils.encode_split_names(list(anomalies_by_split))
        for split, proto in anomalies_by_split.items():
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
        executor = Executor(Executor.Context(stateful_working_dir=str(self.stateful)))
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


def _rules(gate_json: dict[str, Any], verdict: str) -> list[tuple[str, str, str]]:
    """(source, name, where) of the rules with one verdict: passed, warning or failed."""
    return [
        (rule['source'], rule['name'], rule['where'])
        for rule in gate_json['rules']
        if rule['verdict'] == verdict
    ]


def test_clean_data_is_blessed(gate, anomalies):
    verdict = gate({'train': anomalies['clean'], 'test': anomalies['clean']}, _audit(), _ingest())
    assert verdict['blessed']
    limited = len(DEFAULT_MAX_SHARE)
    assert verdict['counts'] == {
        'failed': 0,
        'warning': 0,
        'passed': limited + 3,
        'unlimited': len(KINDS) - limited,
    }
    # A kind of issue without a limit has not passed one.
    unlimited = {name for _, name, _ in _rules(verdict, 'unlimited')}
    assert unlimited == set(KINDS) - set(DEFAULT_MAX_SHARE)
    assert not gate.stateful.exists()


@pytest.mark.parametrize('kind', DEFAULT_MAX_SHARE)
def test_each_default_limit_stops_the_run(gate, anomalies, kind):
    with pytest.raises(
        DataGateError, match=rf'(?s){kind} \[train 900\]: 900 of 1,000 .*90 %.*allowed'
    ) as error:
        gate({'train': anomalies['clean']}, _audit(**{kind: 900}))
    message = str(error.value)
    assert KINDS[kind].remedy in message
    assert f'{gate.folder}/audit/audit.html' in message
    assert f'{gate.stateful}/gate.json' in message
    verdict = gate.verdict()
    assert not verdict['blessed']
    assert _rules(verdict, 'failed') == [('audit', kind, 'train 900')]
    assert json.loads((gate.stateful / 'gate.json').read_text()) == verdict


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
        pytest.param(1000, None, True, id='no limit'),
    ],
)
def test_a_share_above_its_limit_stops_the_run(gate, anomalies, count, limit, passes):
    arguments = {'train': anomalies['clean']}, _audit(undecodable=count)
    if passes:
        assert gate(*arguments, max_share={'undecodable': limit})['blessed']
    else:
        with pytest.raises(DataGateError, match='undecodable'):
            gate(*arguments, max_share={'undecodable': limit})


def test_a_limit_of_zero_allows_none_of_a_billion(gate, anomalies):
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
def test_a_data_set_with_few_grey_levels_stops_the_run(gate, anomalies, tmp_path, divisor, kind):
    """A conversion of 12-bit images in 16-bit files that keeps the upper 8 bits has this effect."""
    examples = []
    for patient in range(8):
        image = data.decode(data.draw(patient))
        image = image if patient < 2 else image.point(lambda value: value // divisor)
        examples.append(
            data.Example(
                data.encode(image, format='PNG', quality=None),
                f'{patient:08d}_000.png',
                SPLITS[patient % 4],
            )
        )
    data.run_audit(tmp_path / 'out', data.write_examples(tmp_path / 'examples', examples))
    audit = json.loads((tmp_path / 'out/audit.json').read_text())
    with pytest.raises(
        DataGateError, match=rf'{kind} .*6 of 8 images .*\(gate\.max_share\.{kind}\)'
    ):
        gate({'train': anomalies['clean']}, audit)


def test_one_message_lists_all_failures(gate, anomalies):
    with pytest.raises(DataGateError) as error:
        gate(
            {'train': anomalies['label 7'], 'val': anomalies['clean']},
            _audit(undecodable=5, patient_in_two_splits=2, wrong_size=4),
            _ingest(quarantined=20),
        )
    message = str(error.value)
    assert message.startswith('the data breaks 3 of its limits:')
    for part in (
        'No Finding [train]: error',
        'undecodable [train 5]',
        'patient_in_two_splits',
        'allowed 0 % (gate.max_share.undecodable)',
        'gate.anomaly_level',
        '00000001_000.png (train, record 3)',
    ):
        assert part in message
    assert 'wrong_size' not in message
    assert 'Warnings: 2' in message


@pytest.mark.parametrize(
    ('statistics', 'level', 'failed'),
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
def test_anomalies_of_the_configured_level_stop_the_run(gate, anomalies, statistics, level, failed):
    arguments = {'train': anomalies[statistics]}, _audit()
    if not failed:
        assert gate(*arguments, anomaly_level=level)['blessed']
        return
    with pytest.raises(DataGateError, match=failed[0]):
        gate(*arguments, anomaly_level=level)
    assert [(name, where) for _, name, where in _rules(gate.verdict(), 'failed')] == [
        (failed[0], 'train')
    ]


@pytest.mark.parametrize('kind', sorted(KINDS))
def test_failures_and_warnings_name_their_configuration_keys(gate, anomalies, kind):
    verdict = gate(
        {'train': anomalies['clean']}, _audit(**{kind: 900}), max_share=dict.fromkeys(KINDS)
    )
    (rule,) = (rule for rule in verdict['rules'] if rule['name'] == kind)
    assert f'no limit (gate.max_share.{kind})' in rule['text']
    with pytest.raises(DataGateError, match=rf'allowed 1 % \(gate\.max_share\.{kind}\)') as error:
        gate({'train': anomalies['clean']}, _audit(**{kind: 900}), max_share={kind: 0.01})
    for name in FOUND_BY.get(kind, ()):
        assert f'audit.{name}' in rule['action'] and f'audit.{name}' in str(error.value)


def test_messages_name_only_keys_that_exist():
    assert set(FOUND_BY) <= set(KINDS)
    assert {name for names in FOUND_BY.values() for name in names} <= set(
        AuditParameters.model_fields
    )


def test_an_anomaly_names_its_configuration_key(gate, anomalies):
    with pytest.raises(
        DataGateError, match=r'No Finding \[train\]: error.*\(gate\.anomaly_level is error\)'
    ):
        gate({'train': anomalies['label 7']}, _audit())


def test_a_drift_that_is_not_a_number_stops_the_run(gate):
    text = (
        'drift_skew_info { path { step: "sex" } drift_measurements { type: L_INFTY value: nan '
        'threshold: 0.2 } }'
    )
    with pytest.raises(DataGateError, match='drift nan'):
        gate({'val': text_format.Parse(text, anomalies_pb2.Anomalies())}, _audit())


def test_drift_is_listed_with_its_threshold(gate, anomalies):
    verdict = gate({'train': anomalies['within drift']}, _audit())
    rules = [
        rule
        for rule in verdict['rules']
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
def test_an_anomaly_below_the_level_only_warns(gate, severity, level, passes):
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info['image'].severity = anomalies_pb2.AnomalyInfo.Severity.Value(severity)
    anomalies.anomaly_info['image'].short_description = 'odd'
    if passes:
        assert ('anomalies', 'image', 'train') in _rules(
            gate({'train': anomalies}, _audit(), anomaly_level=level), 'warning'
        )
    else:
        with pytest.raises(DataGateError, match=r'image \[train\]'):
            gate({'train': anomalies}, _audit(), anomaly_level=level)


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
def test_an_anomaly_of_no_single_feature_stops_the_run(gate, text, name):
    with pytest.raises(DataGateError):
        gate({'val': text_format.Parse(text, anomalies_pb2.Anomalies())}, _audit())
    assert _rules(gate.verdict(), 'failed') == [('anomalies', name, 'val')]


def test_data_without_a_validated_split_are_not_blessed(gate):
    with pytest.raises(DataGateError, match='checked no split'):
        gate({}, _audit())


def test_data_without_images_are_not_blessed(gate, anomalies):
    with pytest.raises(DataGateError, match='there are no images'):
        gate({'train': anomalies['clean']}, {**_audit(), 'images': 0})


def test_quarantine_and_another_record_count_warn(gate, anomalies):
    verdict = gate({'train': anomalies['clean']}, _audit(), _ingest(quarantined=3, records=97))
    assert _rules(verdict, 'warning') == [
        ('ingest', 'quarantine', ''),
        ('ingest', 'record_count', '000-100.tfrec'),
    ]


def test_an_audit_with_another_image_count_than_ingestion_is_not_blessed(gate, anomalies):
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


def test_a_missing_or_broken_audit_is_named(gate, anomalies):
    with pytest.raises(DataGateError, match=r'audit/audit.json is missing'):
        gate({'train': anomalies['clean']})
    (gate.folder / 'audit').mkdir()
    (gate.folder / 'audit/audit.json').write_text('{')
    with pytest.raises(DataGateError, match=r'audit/audit.json is not valid JSON'):
        gate({'train': anomalies['clean']})


def test_an_audit_without_a_known_kind_is_refused(gate, anomalies):
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
def test_invalid_limits_are_refused(limits, message):
    with pytest.raises(ValidationError, match=message):
        GateLimits.model_validate_json(json.dumps(limits))


def test_configured_limits_override_the_defaults():
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


def test_component_has_its_inputs_and_output():
    channels = Channel(type=standard_artifacts.ExampleAnomalies), Channel(type=DataAuditReport)
    gate = DataGate(*channels, limits='{}', code_digest='abc')
    assert set(gate.inputs) == {'anomalies', 'audit'}
    assert gate.outputs['blessing'].type_name == 'components.DataBlessing'
    assert set(DataGate(*channels, Channel(type=IngestReport)).inputs) == {
        'anomalies',
        'audit',
        'ingest_report',
    }
