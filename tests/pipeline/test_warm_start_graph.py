"""The graph of a warm start: the Trainer reads the served version, and the cache still works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.pusher import push
from components.pusher.target import TargetError
from pipeline import config as config_lib
from pipeline.config import Config, ConfigError
from pipeline.create_pipeline import create_pipeline, warm_start_version
from tests.support import push_targets
from trainer.artifacts import MODEL_INFO_FILE
from trainer.parameters import ModelParameters, TrainerParameters


def _config(root: Path, **settings: Any) -> Config:
    path = root / 'config.yaml'
    content = {
        'pipeline': 'p',
        'task': 'nih_triage',
        'root': str(root / 'root'),
        'data': {'root': str(root / 'data')},
        'model': {'backbone': 'scratch_cnn', 'image_size': 96},
        'train': {'warm_start': 'served'},
    }
    path.write_text(json.dumps(content))
    return config_lib.load(
        str(path), [f'{key}={json.dumps(value)}' for key, value in settings.items()]
    )


def _publish(root: Path, name: str, **manifest: Any) -> str:
    """Pushes a model that the training fits; returns its version."""
    folder = root / name
    push_targets.model(folder, name)
    parameters = TrainerParameters(model=ModelParameters(backbone='scratch_cnn', image_size=96))
    info = {
        'model_version': f'p-{name}',
        'task': 'nih_triage',
        'parameters': parameters.model_dump(mode='json'),
    }
    (folder / MODEL_INFO_FILE).parent.mkdir()
    (folder / MODEL_INFO_FILE).write_text(json.dumps(info))
    make = push_targets.maker(model_uri=str(folder), **manifest)
    return push.publish(str(folder), str(root / 'root' / 'serving'), make).version


def _components(config: Config, fingerprint: str = 'f') -> dict[str, Any]:
    return {item.id: item for item in create_pipeline(config, fingerprint).components}


def _custom(components: dict[str, Any]) -> dict[str, Any]:
    return json.loads(components['Trainer'].exec_properties['custom_config'])


def _key(components: dict[str, Any]) -> str:
    return json.loads(components['Pusher'].exec_properties['push'])['candidate_key']


def test_the_trainer_reads_the_served_version(tmp_path: Path) -> None:
    version = _publish(tmp_path, 'a')
    components = _components(_config(tmp_path))
    model = components['Baseline'].outputs['model']
    assert components['Trainer'].inputs['base_model'] == model
    assert components['Evaluator'].inputs['baseline_model'] == model
    assert _custom(components)['warm_start'] == version
    assert warm_start_version(create_pipeline(_config(tmp_path), 'f')) == version


def test_without_a_warm_start_the_trainer_does_not_depend_on_the_served_version(
    tmp_path: Path,
) -> None:
    config = _config(tmp_path, **{'train.warm_start': 'none'})
    before = _components(config)['Trainer'].exec_properties
    _publish(tmp_path, 'a')
    components = _components(config)
    assert 'base_model' not in components['Trainer'].inputs
    assert components['Trainer'].exec_properties == before
    assert warm_start_version(create_pipeline(config, 'f')) == ''


def test_a_repeated_run_starts_from_the_version_that_it_started_from(tmp_path: Path) -> None:
    """Otherwise each run would train on from its own result."""
    config, first = _config(tmp_path), _publish(tmp_path, 'a')
    key = _key(_components(config))
    second = _publish(tmp_path, 'b', candidate_key=key, baseline_version=first)
    again = _components(config)
    assert (_key(again), _custom(again)['warm_start']) == (key, first)
    assert _custom(_components(config, 'new data'))['warm_start'] == second


def test_a_run_from_another_version_trains_again(tmp_path: Path) -> None:
    _publish(tmp_path, 'a')
    before = _components(_config(tmp_path))['Trainer'].exec_properties
    _publish(tmp_path, 'b')
    assert _components(_config(tmp_path))['Trainer'].exec_properties != before


def test_a_warm_start_without_a_served_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r'no model is served from .*serving: set it to none for'):
        create_pipeline(_config(tmp_path), 'f')


def test_a_served_model_that_does_not_fit_is_refused_before_the_run(tmp_path: Path) -> None:
    _publish(tmp_path, 'a')
    config = _config(tmp_path, **{'model.image_size': 64})
    message = r'from model p-a in .*image_size is 96 there and 64 here'
    with pytest.raises(TargetError, match=message):
        create_pipeline(config, 'f')


@pytest.mark.parametrize(
    ('settings', 'text'),
    [
        ({'train.epochs': 0}, 'train.warm_start skips the phase that trains the head only'),
        ({'tuning.trials': 2}, "does not hold for train.warm_start 'served'"),
        ({'train.warm_start': 'imagenet'}, "train.warm_start: Input should be 'none' or 'served'"),
    ],
    ids=['no epochs', 'a search', 'another value'],
)
def test_settings_that_cannot_work(settings: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=text):
        _config(tmp_path, **settings)
