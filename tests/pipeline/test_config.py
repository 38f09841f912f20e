"""Configurations: what comes with the project loads, everything else that is wrong is refused by file and key."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import config
from pipeline.commands import options
from pipeline.config import ConfigError
from trainer.labels import TASKS

CONFIGS = sorted((Path(config.__file__).parent / 'configs').glob('*.yaml'))
GOOD: dict[str, Any] = {'pipeline': 'p', 'task': 'nih_triage'}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], str]:
    def write(content: Any) -> str:
        path = tmp_path / 'experiment.yaml'
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return write


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_those_that_come_with_the_project(path: Path) -> None:
    loaded = config.load(str(path))
    assert loaded.task in TASKS
    assert loaded.evaluation.thresholds
    head = path.read_text().split('\npipeline:')[0]
    for word in ('Command:', 'Time:', 'Metric:'):
        assert word in head, f'the head of {path.name} says nothing of {word}'


def test_defaults(write) -> None:
    loaded = config.load(write(GOOD))
    assert (loaded.model.backbone, loaded.model.image_size, loaded.operating_point.sensitivity) == ('mobilenet_v2', 224, 0.95)
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
def test_an_unknown_key_is_named_with_its_file_and_what_is_allowed(keys: list[str], allowed: str, write) -> None:
    content: Any = 1
    for key in reversed(keys):
        content = {key: content}
    path = write({**GOOD, **content})
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert str(caught.value).startswith(f'{path}: unknown key {".".join(keys)!r}. Allowed there: {allowed}')


def test_an_unknown_key_of_a_threshold(write) -> None:
    path = write({**GOOD, 'evaluation': {'thresholds': [{'metric': 'auc', 'minimum': 0.7}]}})
    with pytest.raises(
        ConfigError, match=r"unknown key 'evaluation\.thresholds\.0\.minimum'. Allowed there: metric, slice, min, max, max_worse"
    ):
        config.load(path)


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        pytest.param({'task': None}, r'task: Input should be a valid string \(found None\)', id='null'),
        pytest.param({'task': 'cats'}, r"task: no such task: 'cats'\. Known: nih_triage", id='task'),
        pytest.param({'pipeline': 'a b'}, r"pipeline: .*pattern.*\(found 'a b'\)", id='name'),
        pytest.param({'train': 3}, r'train: .*\(found 3\)', id='value where keys are expected'),
        pytest.param({'train': {'epochs': 'many'}}, r"train\.epochs: .*integer.*\(found 'many'\)", id='text for a number'),
        pytest.param({'train': {'epochs': 2.5}}, r'train\.epochs: .*integer.*\(found 2\.5\)', id='fraction'),
        pytest.param({'train': {'epochs': -1}}, r'train\.epochs: .*greater than or equal to 0 \(found -1\)', id='below'),
        pytest.param({'train': {'learning_rate': float('inf')}}, r'train\.learning_rate: .*finite', id='infinite'),
        pytest.param({'model': {'image_size': 16}}, r'model\.image_size: .*32', id='too small'),
        pytest.param(
            {'model': {'backbone': 'resnet'}},
            r"model\.backbone: .*'scratch_cnn', 'mobilenet_v2', .* or 'efficientnet_v2_b0'",
            id='backbone',
        ),
        pytest.param(
            {'model': {'backbone': 'scratch_cnn', 'weights': 'w.h5'}},
            "weights are given, but backbone 'scratch_cnn' has none; backbones with weights: mobilenet_v2",
            id='weights for a backbone without',
        ),
        pytest.param({'operating_point': {'sensitivity': 0}}, r'operating_point\.sensitivity: .*greater than 0', id='sensitivity 0'),
        pytest.param({'data': {'spans': 'newest'}}, r'data\.spans', id='spans'),
        pytest.param(
            {'data': {'split': {'fractions': {'train': 0.7, 'val': 0.1, 'calibration': 0.1, 'test': 0.2}}}},
            r'data\.split\.fractions: .*sum to 1, found a sum of 1\.1',
            id='fractions',
        ),
        pytest.param(
            {'gate': {'max_share': {'blurred': 0.1}}}, r'gate\.max_share: no such kind of issue: blurred\. Known: ', id='kind of issue'
        ),
        pytest.param(
            {'audit': {'task_label': 'Mass'}}, r"audit\.task_label is 'Mass', but task 'nih_triage' learns 'abnormal'", id='two labels'
        ),
        pytest.param({'push': {'keep_versions': 1}}, r'push\.keep_versions: .*2', id='no version to go back to'),
        pytest.param({'evaluation': {'slices': ['hospital']}}, r'no such slice: hospital\. Known: sex, age_band', id='slice'),
        pytest.param({'evaluation': {'thresholds': []}}, 'at least one threshold is needed', id='no threshold'),
        pytest.param(
            {'evaluation': {'thresholds': [{'metric': 'auc', 'max_worse': 0.1}]}},
            'needs min or max: by max_worse alone',
            id='no first model',
        ),
    ],
)
def test_refused(content: dict, told: str, write) -> None:
    path = write({**GOOD, **content})
    with pytest.raises(ConfigError, match=told) as caught:
        config.load(path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ('threshold', 'told'),
    [
        ({'metric': 'accuracy', 'min': 0.6}, r"metric: no such metric: 'accuracy'\. Known: auc, pr_auc, sensitivity"),
        ({'metric': 'auc', 'slice': {'hospital': 'A'}, 'min': 0.6}, r'slice: no slices by hospital\. Known: sex'),
        ({'metric': 'auc'}, 'at least one of min, max, max_worse'),
        ({'metric': 'auc', 'min': 0.9, 'max': 0.8}, r'min 0\.9 is above max 0\.8'),
        ({'metric': 'calibration_ratio', 'max_worse': 0.1}, 'max_worse cannot be asked of calibration_ratio'),
        ({'metric': 'auc', 'max_worse': -0.1}, 'greater than or equal to 0'),
        ({'metric': 'auc', 'min': float('nan')}, 'finite'),
        ({'min': 0.5}, r'metric: Field required'),
    ],
    ids=['metric', 'slice', 'no bound', 'bounds crossed', 'no direction', 'negative', 'NaN', 'no metric'],
)
def test_thresholds_that_cannot_be(threshold: dict, told: str, write) -> None:
    with pytest.raises(ConfigError, match=rf'evaluation\.thresholds\.0.*{told}'):
        config.load(write({**GOOD, 'evaluation': {'thresholds': [threshold]}}))


def test_a_slice_value_may_be_a_number(write) -> None:
    loaded = config.load(write({**GOOD, 'evaluation': {'thresholds': [{'metric': 'auc', 'slice': {'Effusion': 1}, 'min': 0.5}]}}))
    assert loaded.evaluation.thresholds[0].slice == {'Effusion': '1'}
    assert loaded.evaluation.thresholds[0].name() == 'Effusion=1'


def test_all_that_is_wrong_is_told_at_once(write) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(write({**GOOD, 'train': {'lr': 1, 'epochs': -1}, 'modell': {}}))
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        pytest.param('pipeline: p\ntask: nih_triage\npipeline: q\n', "key 'pipeline' stands twice", id='a key twice'),
        pytest.param('pipeline: p\ntrain:\n  epochs: 1\n  epochs: 2\n', r"(?s)key 'epochs' stands twice.*line 3", id='a key twice below'),
        pytest.param('pipeline: [p\n', 'no YAML', id='no YAML'),
        pytest.param('- a\n- b\n', 'expected keys and values at the top, found list', id='a list'),
        pytest.param('', 'expected keys and values at the top, found NoneType', id='empty'),
        pytest.param('1: 2\n', 'configuration|1', id='a number as key'),
        pytest.param('pipeline: !!python/object:os.system x\n', 'no YAML', id='code'),
    ],
)
def test_files_that_are_no_configuration(text: str, told: str, write) -> None:
    path = write(text)
    with pytest.raises(ConfigError, match=told) as caught:
        config.load(path)
    assert path in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'none\.yaml: cannot be read .*demo\.yaml'):
        config.load(str(tmp_path / 'none.yaml'))
    (tmp_path / 'binary.yaml').write_bytes(b'\xff\xfe\x80')
    with pytest.raises(ConfigError, match=r'binary\.yaml: no YAML'):
        config.load(str(tmp_path / 'binary.yaml'))


def test_settings_and_overrides_are_laid_over_the_file(write) -> None:
    path = write({**GOOD, 'train': {'epochs': 8, 'seed': 5}})
    settings = ['train.epochs=3', 'model.backbone=scratch_cnn', 'data.spans=[1, 2]', 'evaluation.slices=[sex]', 'push.directory=null']
    loaded = config.load(path, settings, data__root='/data', root='/runs', model__weights=None)
    assert (loaded.train.epochs, loaded.train.seed, loaded.model.backbone) == (3, 5, 'scratch_cnn')
    assert (loaded.data.spans, loaded.data.root, loaded.root) == ([1, 2], '/data', '/runs')
    assert loaded.evaluation.slices == ('sex',)
    assert loaded.model.weights is None


@pytest.mark.parametrize(
    ('setting', 'told'),
    [
        ('train.epochs', r'--set train\.epochs: expected key=value, e\.g\. train\.epochs=3'),
        ('train.lr=3', r"unknown key 'train\.lr'\. Allowed there: seed"),
        ('train.epochs=[', r'--set train\.epochs=\[: the value is no YAML'),
        ('task.name=x', r"--set task\.name=x: 'task' holds a value, not keys"),
        ('=3', r"unknown key ''"),
        ('train.epochs=', r'train\.epochs: .*found None'),
    ],
)
def test_settings_that_cannot_be(setting: str, told: str, write) -> None:
    with pytest.raises(ConfigError, match=told):
        config.load(write(GOOD), [setting])


def test_file_uris_are_local_folders(write, tmp_path: Path) -> None:
    """Else they would be taken for an object store, which has neither renames nor locks."""
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    folders = {name: f'file://{tmp_path}/{name}' for name in ('data-root', 'root', 'push-dir')}
    arguments = [f'--{name}={uri}' for name, uri in folders.items()]
    loaded = options.configuration(parser.parse_args(['--config', write(GOOD), *arguments]))
    assert (loaded.data.root, loaded.root, loaded.push_directory) == tuple(f'{tmp_path}/{name}' for name in folders)
