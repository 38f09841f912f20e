"""The pipeline graph: its steps, and which of them an edit of configuration or code changes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.components.common.resolver import Resolver

from pipeline import config as config_lib
from pipeline import steps
from pipeline.config import Config
from pipeline.create_pipeline import artifact_exists, create_pipeline


def _config(root: Path, **settings: Any) -> Config:
    content: dict[str, Any] = {
        'pipeline': 'p',
        'task': 'nih_triage',
        'root': str(root / 'root'),
        'data': {'root': str(root / 'data')},
        'model': {'weights': str(root / 'weights.h5')},
    }
    path = root / 'config.yaml'
    path.write_text(json.dumps(content))
    return config_lib.load(
        str(path), [f'{key}={json.dumps(value)}' for key, value in settings.items()]
    )


def _properties(config: Config, fingerprint: str = 'f') -> dict[str, dict[str, Any]]:
    """Returns the parameters of each component, without the nonce that differs between runs."""
    parameters = {}
    for component in create_pipeline(config, fingerprint).components:
        properties = {name: _plain(value) for name, value in component.exec_properties.items()}
        if 'push' in properties:
            properties['push'] = {
                name: value
                for name, value in json.loads(properties['push']).items()
                if name != 'push_nonce'
            }
        parameters[component.id] = properties
    return parameters


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else str(value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / 'weights.h5').write_bytes(b'weights')
    return tmp_path


def test_the_graph_has_a_tuner_if_there_are_trials(root: Path) -> None:
    without_tuner, with_tuner = (
        create_pipeline(_config(root, **{'tuning.trials': trials}), 'f').components
        for trials in (0, 2)
    )
    assert 'Tuner' not in {component.id for component in without_tuner}
    components = {component.id: component for component in with_tuner}
    trainer, tuner = components['Trainer'], components['Tuner']
    assert trainer.inputs['hyperparameters'] == tuner.outputs['best_hyperparameters']
    tuning = json.loads(tuner.exec_properties['custom_config'])['tuning']
    assert json.loads(tuning)['trials'] == 2


@pytest.mark.parametrize(
    ('trials', 'names'), [(0, steps.REQUIRED), (2, steps.NAMES)], ids=['required', 'all']
)
def test_the_graph_has_the_listed_steps_in_order(
    root: Path, trials: int, names: tuple[str, ...]
) -> None:
    components = create_pipeline(_config(root, **{'tuning.trials': trials}), 'f').components
    assert tuple(component.id for component in components) == names


def test_listed_executors_match_the_components(root: Path) -> None:
    components = create_pipeline(_config(root, **{'tuning.trials': 2}), 'f').components
    executors = {
        component.id: component.executor_spec.executor_class.__module__ for component in components
    }
    for step in steps.ALL:
        assert step.executor in (executors[step.name], ''), step.name


def test_kubeflow_can_run_the_graph(root: Path) -> None:
    pipeline = create_pipeline(_config(root), 'f')
    ids = [component.id for component in pipeline.components]
    assert all(re.fullmatch(r'[a-zA-Z0-9-]+', name) for name in ids)
    assert not any(isinstance(component, Resolver) for component in pipeline.components)
    assert pipeline.enable_cache


def test_gates_come_before_training_and_push(root: Path) -> None:
    components = {
        component.id: component for component in create_pipeline(_config(root), 'f').components
    }
    assert components['DataGate'] in components['Transform'].upstream_nodes
    assert {'ExampleValidator', 'DataAudit'} <= {
        node.id for node in components['DataGate'].upstream_nodes
    }
    assert {'Evaluator', 'ServingCheck'} <= {
        node.id for node in components['Pusher'].upstream_nodes
    }


def test_parameters_are_deterministic(root: Path) -> None:
    assert _properties(_config(root)) == _properties(_config(root))


@pytest.mark.parametrize(
    ('change', 'changed'),
    [
        pytest.param({'gate.anomaly_level': 'warning'}, {'DataGate'}, id='limit of the gate'),
        pytest.param({'gate.max_share': {'blank': 0.5}}, {'DataGate'}, id='share of the gate'),
        pytest.param({'train.epochs': 3}, {'Trainer'}, id='epochs'),
        pytest.param({'train.augmentation.zoom': 0.0}, {'Trainer'}, id='augmentation'),
        pytest.param({'operating_point.sensitivity': 0.9}, {'Trainer'}, id='operating point'),
        pytest.param({'model.image_size': 128}, {'Transform', 'Trainer'}, id='image size'),
        pytest.param(
            {'model.backbone': 'scratch_cnn', 'model.weights': None}, {'Trainer'}, id='backbone'
        ),
        pytest.param({'data.split.seed': 3}, {'XrayExampleGen'}, id='seed of the split'),
        pytest.param({'data.spans': 'latest'}, {'XrayExampleGen'}, id='spans'),
        pytest.param({'audit.near_duplicate_correlation': 0.9}, {'DataAudit'}, id='audit'),
        pytest.param({'evaluation.slices': ['sex']}, {'Evaluator'}, id='slices'),
        pytest.param(
            {'evaluation.thresholds': [{'metric': 'auc', 'min': 0.9}]},
            {'Evaluator'},
            id='thresholds',
        ),
        pytest.param({'data.expert_labels.file': 'e.csv'}, {'Evaluator'}, id='expert labels'),
        pytest.param({'serving_check.samples': 4}, {'ServingCheck'}, id='serving check'),
        pytest.param({'push.keep_versions': 3}, set(), id='versions to keep'),
        pytest.param({'push.directory': '/other'}, {'Baseline'}, id='push target'),
        pytest.param({'beam.args': ['--direct_num_workers=1']}, set(), id='Beam'),
    ],
)
def test_a_change_of_the_configuration_changes_only_its_components(
    change: dict[str, Any], changed: set[str], root: Path
) -> None:
    """The Pusher always changes too: the manifest contains the configuration."""
    before, after = _properties(_config(root)), _properties(_config(root, **change))
    assert {name for name in before if before[name] != after[name]} == changed | {'Pusher'}


def _key(config: Config, fingerprint: str = 'f') -> str:
    return _properties(config, fingerprint)['Pusher']['push']['candidate_key']


def test_new_data_changes_ingestion_and_the_candidate(root: Path) -> None:
    before, after = _properties(_config(root), 'f'), _properties(_config(root), 'g')
    assert {name for name in before if before[name] != after[name]} == {'XrayExampleGen', 'Pusher'}
    assert before['Pusher']['push']['candidate_key'] != after['Pusher']['push']['candidate_key']


def test_new_weights_under_the_same_path_change_the_candidate(root: Path) -> None:
    before = _properties(_config(root))
    (root / 'weights.h5').write_bytes(b'other weights')
    after = _properties(_config(root))
    assert {name for name in before if before[name] != after[name]} == {'Trainer', 'Pusher'}
    assert before['Pusher']['push']['candidate_key'] != after['Pusher']['push']['candidate_key']


def test_another_table_of_experts_is_only_evaluated(root: Path) -> None:
    config = _config(root, **{'data.expert_labels.file': str(root / 'e.csv')})
    (root / 'e.csv').write_text('Image ID,Abnormal')
    before = _properties(config)
    (root / 'e.csv').write_text('Image ID,Mass')
    after = _properties(config)
    assert {name for name in before if before[name] != after[name]} == {'Evaluator'}
    assert before['Pusher']['push']['candidate_key'] == after['Pusher']['push']['candidate_key']


@pytest.mark.parametrize(
    ('change', 'same'),
    [
        ({'train.seed': 1}, False),
        ({'data.split.seed': 1}, False),
        ({'evaluation.thresholds': [{'metric': 'auc', 'min': 0.9}]}, True),
        ({'data.expert_labels.file': 'e.csv'}, True),
        ({'serving_check.samples': 4}, True),
        ({'gate.anomaly_level': 'warning'}, True),
        ({'push.directory': '/other'}, True),
    ],
    ids=['training', 'data', 'thresholds', 'experts', 'serving check', 'gate limit', 'target'],
)
def test_settings_that_change_the_candidate(change: dict[str, Any], same: bool, root: Path) -> None:
    assert (_key(_config(root)) == _key(_config(root, **change))) is same


def _edit_digest(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    from pipeline import create_pipeline as module_under_test

    original = module_under_test.digest
    monkeypatch.setattr(
        module_under_test,
        'digest',
        lambda *names: 'edited' if module in names else original(*names),
    )


@pytest.mark.parametrize(
    ('module', 'changed'),
    [
        ('trainer.run', {'Trainer', 'Pusher'}),
        ('trainer.preprocessing', {'Transform', 'Pusher'}),
        ('components.xray_example_gen.executor', {'XrayExampleGen', 'Pusher'}),
        ('components.data_audit.executor', {'DataAudit'}),
        ('components.data_gate.executor', {'DataGate'}),
        ('components.serving_check.executor', {'ServingCheck'}),
        ('components.baseline.executor', {'Baseline'}),
        ('components.pusher.executor', {'Pusher'}),
    ],
)
def test_an_edit_of_the_code_changes_its_component(
    module: str, changed: set[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _properties(_config(root))
    _edit_digest(monkeypatch, module)
    after = _properties(_config(root))
    assert {name for name in before if before[name] != after[name]} == changed


@pytest.mark.parametrize(
    ('missing', 'pattern'),
    [(True, 'missing'), (False, r'[0-9a-f]{16}')],
    ids=['weights missing', 'weights present'],
)
def test_digest_of_the_weights(missing: bool, pattern: str, root: Path) -> None:
    """Missing weights do not stop the graph: the Trainer reports them."""
    if missing:
        (root / 'weights.h5').unlink()
    config = json.loads(_properties(_config(root))['Trainer']['custom_config'])
    assert re.fullmatch(pattern, config['weights_digest'])


@pytest.mark.slow
def test_a_local_run_does_not_import_service_clients() -> None:
    check = (
        'import sys, pipeline.create_pipeline, pipeline.execute; print([name for name in '
        'sys.argv[1:] if name in sys.modules])'
    )
    result = subprocess.run(
        [sys.executable, '-c', check, 'google.cloud.aiplatform', 'kfp', 'tfx.v1'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == '[]'


@pytest.mark.parametrize(
    ('run_root', 'checkpoints'),
    [
        ('/runs', '/runs/checkpoints'),
        ('gs://b/runs', 'gs://b/runs/checkpoints'),
        ('s3://b/runs', ''),
        ('minio://b/r', ''),
    ],
)
def test_checkpoints_are_saved_where_tensorflow_can_write(
    root: Path, run_root: str, checkpoints: str
) -> None:
    config = _config(root, **{'push.directory': str(root / 'served')}).model_copy(
        update={'root': run_root}
    )
    trainer = json.loads(_properties(config)['Trainer']['custom_config'])
    assert trainer['checkpoints'] == checkpoints


@pytest.mark.parametrize(
    ('uri', 'exists'),
    [
        *(
            ('/minio/bucket/runs/model', True),
            ('/s3/bucket/runs/model', True),
            ('minio://bucket/runs/model', True),
        ),
        *(
            ('gs://bucket/missing', False),
            ('/gcs/bucket/missing', False),
            ('gs://bucket/present', True),
            ('/gcs/bucket/present', True),
        ),
    ],
)
def test_whether_an_artifact_of_kubeflow_exists(
    uri: str, exists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def storage_exists(path: str) -> bool:
        assert not path.startswith(('s3://', 'minio://')), 'TensorFlow cannot open these'
        return path == 'gs://bucket/present'

    monkeypatch.setattr('pipeline.create_pipeline.storage.exists', storage_exists)
    assert artifact_exists(uri) is exists


def test_whether_an_artifact_of_a_local_run_exists(tmp_path: Path) -> None:
    assert artifact_exists(str(tmp_path))
    assert not artifact_exists(str(tmp_path / 'missing'))
