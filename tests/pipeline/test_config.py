"""The configurations of the project load; an invalid one is rejected with file and key."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import experiment_options as options
from pipeline import config
from pipeline.config import ConfigError
from trainer.tasks import TASKS

CONFIGS = sorted((Path(config.__file__).parent / 'configs').glob('*.yaml'))
MINIMAL: dict[str, Any] = {'pipeline': 'p', 'task': 'nih_triage'}
WITH_TABLE: dict[str, Any] = {**MINIMAL, 'data': {'metadata': 'Data_Entry_2017_v2020.csv'}}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], str]:
    def write(content: Any) -> str:
        path = tmp_path / 'experiment.yaml'
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return write


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_configurations_of_the_project(path: Path) -> None:
    loaded = config.load(str(path))
    assert loaded.task in TASKS
    assert loaded.evaluation.thresholds
    head = path.read_text().split('\npipeline:')[0]
    for word in ('Command:', 'Time:', 'Metric:'):
        assert word in head, f'the first comment of {path.name} has no {word}'


def test_defaults(write) -> None:
    loaded = config.load(write(MINIMAL))
    assert (loaded.model.backbone, loaded.model.image_size, loaded.operating_point.sensitivity) == (
        'mobilenet_v2',
        224,
        0.95,
    )
    assert loaded.beam.arguments(None) == ['--runner=FnApiRunner']


@pytest.mark.parametrize(
    ('keys', 'allowed'),
    [
        (['epochs'], 'pipeline, task, root, artifacts, data'),
        (['data', 'roots'], 'root, patterns, spans'),
        (['data', 'split', 'fraction'], 'method, fractions, seed'),
        (['audit', 'widths'], 'task_label, width, height'),
        (['gate', 'level'], 'anomaly_level, max_share'),
        (['model', 'layers'], 'backbone, weights, image_size, dropout'),
        (['train', 'lr'], 'seed, batch_size, head_first'),
        (['train', 'augmentation', 'flip'], 'shift, rotation, zoom, contrast, brightness'),
        (['operating_point', 'specificity'], 'sensitivity'),
        (['evaluation', 'threshold'], 'slices, thresholds'),
        (['serving_check', 'sample'], 'model_name, samples'),
        (['push', 'dir'], 'directory, keep_versions'),
        (['beam', 'flink', 'jobserver'], 'job_server, workers, parallelism'),
    ],
    ids=lambda value: '.'.join(value) if isinstance(value, list) else '',
)
def test_an_unknown_key_is_named_with_the_allowed_keys(
    keys: list[str], allowed: str, write
) -> None:
    content: Any = 1
    for key in reversed(keys):
        content = {key: content}
    path = write({**MINIMAL, **content})
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert str(caught.value).startswith(
        f'{path}: unknown key {".".join(keys)!r}. Allowed there: {allowed}'
    )


def test_an_unknown_key_of_a_threshold_is_named(write) -> None:
    path = write({**MINIMAL, 'evaluation': {'thresholds': [{'metric': 'auc', 'minimum': 0.7}]}})
    with pytest.raises(
        ConfigError,
        match=(
            r"unknown key 'evaluation\.thresholds\.0\.minimum'. Allowed there: metric, slice, "
            r'min, max, max_worse'
        ),
    ):
        config.load(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        pytest.param(
            {'task': None}, r'task: Input should be a valid string \(found None\)', id='null'
        ),
        pytest.param(
            {'task': 'cats'}, r"task: no such task: 'cats'\. Known: nih_triage", id='task'
        ),
        pytest.param(
            {'train': {'seed': -1}},
            r'train\.seed: .*greater than or equal to 0 \(found -1\)',
            id='negative seed',
        ),
        pytest.param(
            {'train': {'seed': 2**32}},
            r'train\.seed: .*less than or equal to 4294967295',
            id='seed of more than 32 bits',
        ),
        pytest.param(
            {'serving_check': {'warmup_batches': [1, 0]}},
            r'serving_check\.warmup_batches\.1: .*1',
            id='empty warm-up',
        ),
        pytest.param(
            {'data': {'spans': [1, -2]}},
            r'data\.spans\..*: .*greater than or equal to 0',
            id='negative span',
        ),
        pytest.param(
            {'data': {'patient_id_pattern': '(a{9999999999})'}},
            'not a regular expression',
            id='pattern too large',
        ),
        pytest.param({'train': 3}, r'train: .*\(found 3\)', id='value where keys are expected'),
        pytest.param(
            {'train': {'epochs': 'many'}},
            r"train\.epochs: .*integer.*\(found 'many'\)",
            id='text for a number',
        ),
        pytest.param(
            {'train': {'epochs': 2.5}}, r'train\.epochs: .*integer.*\(found 2\.5\)', id='fraction'
        ),
        pytest.param(
            {'train': {'epochs': -1}},
            r'train\.epochs: .*greater than or equal to 0 \(found -1\)',
            id='below',
        ),
        pytest.param(
            {'train': {'learning_rate': float('inf')}},
            r'train\.learning_rate: .*finite',
            id='infinite',
        ),
        pytest.param({'model': {'image_size': 16}}, r'model\.image_size: .*32', id='too small'),
        pytest.param(
            {'model': {'backbone': 'resnet'}},
            r"model\.backbone: .*'scratch_cnn', 'mobilenet_v2', .* or 'efficientnet_v2_b0'",
            id='backbone',
        ),
        pytest.param(
            {'model': {'backbone': 'scratch_cnn', 'weights': 'w.h5'}},
            "weights are set, but backbone 'scratch_cnn' has none; backbones with weights: "
            'mobilenet_v2',
            id='weights for a backbone without',
        ),
        pytest.param(
            {'operating_point': {'sensitivity': 0}},
            r'operating_point\.sensitivity: .*greater than 0',
            id='sensitivity 0',
        ),
        pytest.param({'data': {'spans': 'newest'}}, r'data\.spans', id='spans'),
        pytest.param(
            {
                'data': {
                    'split': {
                        'fractions': {'train': 0.7, 'val': 0.1, 'calibration': 0.1, 'test': 0.2}
                    }
                }
            },
            r'data\.split\.fractions: .*sum to 1, found a sum of 1\.1',
            id='fractions',
        ),
        pytest.param(
            {'gate': {'max_share': {'blurred': 0.1}}},
            r'gate\.max_share: no such kind of issue: blurred\. Known: ',
            id='kind of issue',
        ),
        pytest.param(
            {'audit': {'task_label': 'Mass'}},
            r"audit\.task_label is 'Mass', but task 'nih_triage' learns 'abnormal'",
            id='two labels',
        ),
        pytest.param(
            {'data': {'expert_labels': {'columns': {'Fracture': ['Fracture']}}}},
            r"no such label: 'Fracture'\. Known: abnormal, Atelectasis",
            id='label of experts',
        ),
        pytest.param(
            {'data': {'expert_labels': {'columns': {'Mass': []}}}},
            'Mass has no columns',
            id='label of experts without columns',
        ),
        pytest.param(
            {'push': {'keep_versions': 1}},
            r'push\.keep_versions: .*2',
            id='no version to go back to',
        ),
        pytest.param(
            {'evaluation': {'slices': ['hospital']}},
            r'no such slice: hospital\. Known: sex, age_band',
            id='slice',
        ),
        pytest.param(
            {'evaluation': {'thresholds': []}},
            'set at least one threshold',
            id='no threshold',
        ),
        pytest.param(
            {'evaluation': {'thresholds': [{'metric': 'auc', 'max_worse': 0.1}]}},
            'needs min or max: max_worse alone has no effect while nothing is served',
            id='no first model',
        ),
    ],
)
def test_an_invalid_value_is_rejected(content: dict, message: str, write) -> None:
    path = write({**MINIMAL, **content})
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ('threshold', 'message'),
    [
        (
            {'metric': 'accuracy', 'min': 0.6},
            r"metric: no such metric: 'accuracy'\. Known: auc, pr_auc, sensitivity",
        ),
        (
            {'metric': 'auc', 'slice': {'hospital': 'A'}, 'min': 0.6},
            r'slice: no slices by hospital\. Known: sex',
        ),
        ({'metric': 'auc'}, 'at least one of min, max, max_worse'),
        ({'metric': 'auc', 'min': 0.9, 'max': 0.8}, r'min 0\.9 is above max 0\.8'),
        (
            {'metric': 'calibration_ratio', 'max_worse': 0.1},
            'max_worse cannot be set on calibration_ratio',
        ),
        ({'metric': 'auc', 'max_worse': -0.1}, 'greater than or equal to 0'),
        ({'metric': 'auc', 'min': float('nan')}, 'finite'),
        ({'min': 0.5}, r'metric: Field required'),
    ],
    ids=[
        'metric',
        'slice',
        'no bound',
        'bounds crossed',
        'no direction',
        'negative',
        'NaN',
        'no metric',
    ],
)
def test_an_invalid_threshold_is_rejected(threshold: dict, message: str, write) -> None:
    with pytest.raises(ConfigError, match=rf'evaluation\.thresholds\.0.*{message}'):
        config.load(write({**MINIMAL, 'evaluation': {'thresholds': [threshold]}}))


# Unless rejected, each of these would fail only after hours of training.
@pytest.mark.parametrize(
    ('threshold', 'message'),
    [
        pytest.param(
            {'metric': 'auc', 'slice': {'view_position': 'pa'}, 'min': 0.5},
            r"slice: no image has view_position 'pa'\. Allowed: PA, AP, unknown",
            id='view in lower case',
        ),
        pytest.param(
            {'metric': 'auc', 'slice': {'sex': 'female'}, 'min': 0.5},
            r"no image has sex 'female'\. Allowed: F, M, unknown",
            id='sex as a word',
        ),
        pytest.param(
            {'metric': 'auc', 'slice': {'age_band': '40-60'}, 'min': 0.5},
            r"no image has age_band '40-60'\. Allowed: 00-17, 18-39, 40-59, 60-79, 80\+, unknown",
            id='age band',
        ),
        pytest.param(
            {'metric': 'auc', 'slice': {'Effusion': True}, 'min': 0.5},
            r"no image has Effusion 'True'\. Allowed: 0, 1",
            id='finding as a truth value',
        ),
        pytest.param(
            {'metric': 'auc', 'min': 1.5},
            r'min 1\.5 is outside the range of auc: from 0 to 1',
            id='min above',
        ),
        pytest.param(
            {'metric': 'auc_lower', 'min': 75},
            r'min 75 is outside the range of auc_lower: from 0 to 1',
            id='percent',
        ),
        pytest.param(
            {'metric': 'auc', 'max': -0.1},
            r'max -0\.1 is outside the range of auc: from 0 to 1',
            id='max below',
        ),
        pytest.param(
            {'metric': 'auc_over_metadata', 'min': -1.2},
            r'min -1\.2 is outside the range of auc_over_metadata: from -1 to 1',
            id='range below 0',
        ),
        pytest.param(
            {'metric': 'calibration_ratio', 'max': -1},
            r'max -1 is outside the range of calibration_ratio: 0 or more',
            id='range without end',
        ),
        pytest.param(
            {'metric': 'auc', 'min': 0.5, 'max_worse': 2},
            r'max_worse 2 allows any change of auc',
            id='max_worse above the range',
        ),
        pytest.param(
            {'metric': 'sensitivity_gap_sex', 'slice': {'sex': 'F'}, 'max': 0.1},
            r'sensitivity_gap_sex compares values of sex, but all images of the slice sex=F have '
            r'the same one',
            id='gap inside a slice of its feature',
        ),
        pytest.param(
            {
                'metric': 'sensitivity_gap_age_band_upper',
                'slice': {'sex': 'F', 'age_band': '80+'},
                'max': 0.1,
            },
            'leave age_band out of the slice',
            id='end of a gap inside a slice of its feature',
        ),
    ],
)
def test_an_impossible_threshold_is_rejected(threshold: dict, message: str, write) -> None:
    with pytest.raises(ConfigError, match=rf'evaluation\.thresholds\.0.*{message}'):
        config.load(write({**WITH_TABLE, 'evaluation': {'thresholds': [threshold]}}))


@pytest.mark.parametrize(
    ('changes', 'threshold', 'message'),
    [
        pytest.param(
            {},
            {'metric': 'macro_auc', 'min': 0.6},
            "macro_auc does not exist for task 'nih_triage'. Its metrics: auc, pr_auc, sensitivity",
            id='metric of another task',
        ),
        pytest.param(
            {},
            {'metric': 'macro_auc_upper', 'min': 0.6},
            "macro_auc_upper does not exist for task 'nih_triage'",
            id='end of a metric of another task',
        ),
        pytest.param(
            {},
            {'metric': 'auc', 'slice': {'Effusion': 1}, 'min': 0.5},
            'auc is not defined in the slice Effusion=1, whose images are all abnormal for task '
            "'nih_triage'. "
            'Defined there: pr_auc, sensitivity,',
            id='one class by a finding',
        ),
        pytest.param(
            {'task': 'cardiomegaly'},
            {'metric': 'sensitivity', 'slice': {'Cardiomegaly': 0}, 'min': 0.5},
            'sensitivity is not defined in the slice Cardiomegaly=0, whose images are all no '
            'cardiomegaly',
            id='one class by the label',
        ),
        pytest.param(
            {'data': {}},
            {'metric': 'sensitivity_gap_sex', 'max': 0.1},
            'sensitivity_gap_sex needs sex, age and view of the images: set data.metadata to ',
            id='gap without a metadata table',
        ),
        pytest.param(
            {'data': {}},
            {'metric': 'auc', 'slice': {'view_position': 'PA'}, 'min': 0.5},
            'the slice view_position=PA is empty without a metadata table',
            id='slice without a metadata table',
        ),
    ],
)
def test_an_impossible_threshold_of_the_experiment_is_rejected(
    changes: dict, threshold: dict, message: str, write
) -> None:
    thresholds = {'thresholds': [{'metric': 'auc', 'min': 0.5}, threshold]}
    with pytest.raises(ConfigError, match=re.escape(f'evaluation.thresholds.1: {message}')):
        config.load(write({**WITH_TABLE, **changes, 'evaluation': thresholds}))


def test_contradictory_bounds_are_rejected(write) -> None:
    thresholds = [
        {'metric': 'auc', 'slice': {'sex': 'F', 'view_position': 'PA'}, 'min': 0.8},
        {'metric': 'auc', 'max': 0.7},
        {'metric': 'auc', 'slice': {'view_position': 'PA', 'sex': 'F'}, 'max': 0.7},
    ]
    config.load(write({**WITH_TABLE, 'evaluation': {'thresholds': thresholds[:2]}}))
    with pytest.raises(
        ConfigError, match=r'auc on sex=F, view_position=PA has a min of 0\.8 and a max of 0\.7'
    ):
        config.load(write({**WITH_TABLE, 'evaluation': {'thresholds': thresholds}}))


@pytest.mark.parametrize(
    ('task', 'threshold'),
    [
        ('findings14', {'metric': 'macro_auc', 'min': 0.65}),
        ('nih_triage', {'metric': 'auc_over_metadata_lower', 'min': 0}),
        ('nih_triage', {'metric': 'auc', 'slice': {'age_band': '80+', 'Effusion': 0}, 'min': 1}),
        ('cardiomegaly', {'metric': 'auc', 'slice': {'Effusion': 1}, 'min': 0.5}),
        (
            'nih_triage',
            {'metric': 'sensitivity_gap_sex', 'slice': {'view_position': 'unknown'}, 'max': 0},
        ),
    ],
)
def test_thresholds_that_a_model_can_pass(task: str, threshold: dict, write) -> None:
    loaded = config.load(
        write({**WITH_TABLE, 'task': task, 'evaluation': {'thresholds': [threshold]}})
    )
    assert loaded.evaluation.thresholds[0].metric == threshold['metric']


def test_a_slice_value_can_be_a_number(write) -> None:
    loaded = config.load(
        write(
            {
                **MINIMAL,
                'evaluation': {
                    'thresholds': [{'metric': 'sensitivity', 'slice': {'Effusion': 1}, 'min': 0.5}]
                },
            }
        )
    )
    assert loaded.evaluation.thresholds[0].slice == {'Effusion': '1'}
    assert loaded.evaluation.thresholds[0].name() == 'Effusion=1'


@pytest.mark.parametrize('name', ['p', '7', 'nih-triage', 'a' * 63, 'a--b'])
def test_valid_pipeline_names(name: str, write) -> None:
    assert config.load(write({**MINIMAL, 'pipeline': name})).pipeline == name


@pytest.mark.parametrize(
    'name', ['', 'NIH-Triage', '-abc-', 'abc-', '-abc', 'a' * 64, 'a b', 'a_b', 'a.b', 'abc\n', 'é']
)
def test_an_invalid_pipeline_name_is_rejected(name: str, write) -> None:
    path = write({**MINIMAL, 'pipeline': name})
    with pytest.raises(
        ConfigError,
        match=r'pipeline: .* is not a name that every runner accepts: expected at most 63 lower',
    ) as caught:
        config.load(path)
    assert str(caught.value).startswith(f'{path}: pipeline: {name!r} ')


def test_all_errors_are_reported_at_once(write) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(write({**MINIMAL, 'train': {'lr': 1, 'epochs': -1}, 'modell': {}}))
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        pytest.param(
            'pipeline: p\ntask: nih_triage\npipeline: q\n',
            r"line 3, column 1: the key 'pipeline' is already in line 1",
            id='a key twice',
        ),
        pytest.param(
            'pipeline: p\ntrain:\n  epochs: 1\n  epochs: 2\n',
            r"line 4, column 3: the key 'epochs' is already in line 3",
            id='a nested key twice',
        ),
        pytest.param('pipeline: [p\n', r'line 2, column 1: not valid YAML: ', id='not YAML'),
        pytest.param('- a\n- b\n', 'expected keys and values at the top, found list', id='a list'),
        pytest.param('', 'expected keys and values at the top, found NoneType', id='empty'),
        pytest.param(
            '1: 2\n',
            "line 1, column 1: the key '1' has to be text, but is read as a whole number",
            id='a number as key',
        ),
        pytest.param(
            'pipeline: !!python/object:os.system x\n',
            r'column 11: the tag !!python/object:os\.system is not allowed',
            id='code',
        ),
    ],
)
def test_a_file_that_is_not_a_configuration_is_rejected(text: str, message: str, write) -> None:
    path = write(text)
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(path)
    assert path in str(caught.value)


def test_a_missing_or_binary_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'none\.yaml: cannot be read .*demo\.yaml'):
        config.load(str(tmp_path / 'none.yaml'))
    (tmp_path / 'binary.yaml').write_bytes(b'\xff\xfe\x80')
    with pytest.raises(ConfigError, match=r'binary\.yaml: not UTF-8 text \(byte 0\)'):
        config.load(str(tmp_path / 'binary.yaml'))


def test_settings_and_overrides_replace_values_of_the_file(write) -> None:
    path = write({**MINIMAL, 'train': {'epochs': 8, 'seed': 5}})
    settings = [
        'train.epochs=3',
        'model.backbone=scratch_cnn',
        'data.spans=[1, 2]',
        'evaluation.slices=[sex]',
        'push.directory=null',
    ]
    loaded = config.load(path, settings, data__root='/data', root='/runs', model__weights=None)
    assert (loaded.train.epochs, loaded.train.seed, loaded.model.backbone) == (3, 5, 'scratch_cnn')
    assert (loaded.data.spans, loaded.data.root, loaded.root) == ([1, 2], '/data', '/runs')
    assert loaded.evaluation.slices == ('sex',)
    assert loaded.model.weights is None


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        ('train.epochs', r'--set train\.epochs: expected key=value, e\.g\. train\.epochs=3'),
        ('train.lr=3', r"unknown key 'train\.lr'\. Allowed there: seed"),
        ('train.epochs=[', r'--set train\.epochs=\[: not valid YAML: '),
        ('task.name=x', r"--set task\.name=x: 'task' has a value, not keys"),
        ('=3', '--set =3: expected key=value'),
        ('train..epochs=3', r'--set train\.\.epochs=3: expected key=value'),
        ('train.epochs=', r'train\.epochs: .*found None'),
    ],
)
def test_an_invalid_setting_is_rejected(setting: str, message: str, write) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(write(MINIMAL), [setting])


def test_file_uris_are_local_folders(write, tmp_path: Path) -> None:
    """They are not object stores, which support neither renames nor locks."""
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    folders = {name: f'file://{tmp_path}/{name}' for name in ('data-root', 'root', 'push-dir')}
    arguments = [f'--{name}={uri}' for name, uri in folders.items()]
    loaded = options.configuration(parser.parse_args(['--config', write(MINIMAL), *arguments]))
    assert (loaded.data.root, loaded.root, loaded.push_directory) == tuple(
        f'{tmp_path}/{name}' for name in folders
    )
