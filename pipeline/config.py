"""The configuration of an experiment: one YAML file, checked key by key before anything runs.

Does not import TensorFlow.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from components.data_audit.parameters import AuditParameters
from components.data_gate.limits import GateLimits
from components.serving_check.parameters import ServingCheckParameters
from components.xray_example_gen.parameters import DataParameters
from pipeline import yaml_values
from pipeline.beam_parameters import BeamParameters
from pipeline.card_parameters import CardParameters
from pipeline.evaluation_parameters import EvaluationParameters
from pipeline.kubeflow.parameters import KubeflowParameters
from pipeline.run_root import RunRoot
from trainer.parameters import (
    ModelParameters,
    OperatingPointParameters,
    TrainParameters,
    TuningParameters,
    check_something_is_trained,
)
from trainer.strict_parameters import StrictParameters
from trainer.tasks import TASKS

_MAX_BYTES = 1_000_000
# Characters of a value that a message quotes.
_SHOWN = 200
# Names that Kubernetes and Kubeflow accept.
_NAME = re.compile(r'[a-z0-9]([-a-z0-9]*[a-z0-9])?')
_NAME_LENGTH = 63


class ConfigError(ValueError):
    """An invalid configuration; the text names the file, the key, its value and allowed values."""


class PushTarget(StrictParameters):
    """Where blessed models are pushed."""

    directory: str | None = None
    """The push directory, which TF Serving watches (`--push-dir`); null: `serving/` under the run
    root."""
    keep_versions: int | None = Field(None, ge=2)
    """Versions that remain in the push directory after a push; older ones are deleted, but none
    that the model config file names. Null keeps all."""
    release: Literal['none', 'canary', 'stable'] = 'stable'
    """What `cxr-triage run` does with a new version where `cxr-triage serve` has served the push
    directory: serve it as stable, as canary beside the stable one, or leave that to a person. A
    run on Kubeflow never releases."""


class Config(StrictParameters):
    """An experiment."""

    pipeline: str
    """Name of the pipeline: at most 63 lower-case letters, digits and dashes, with no dash at
    either end."""
    task: str = Field(json_schema_extra={'enum': list(TASKS)})
    """What the model learns."""
    root: str | None = None
    """The run root (`--root`): the directory for artifacts, metadata store and checkpoints. Null:
    `runs/` and the name of the pipeline."""
    artifacts: str | None = None
    """Another directory for artifacts, e.g. gs://BUCKET/FOLDER for Beam workers that cannot reach
    the run root; null: `artifacts/` under the run root."""
    data: DataParameters = DataParameters()
    audit: AuditParameters = AuditParameters()
    gate: GateLimits = GateLimits()
    model: ModelParameters = ModelParameters()
    train: TrainParameters = TrainParameters()
    tuning: TuningParameters = TuningParameters()
    operating_point: OperatingPointParameters = OperatingPointParameters()
    evaluation: EvaluationParameters = EvaluationParameters()
    serving_check: ServingCheckParameters = ServingCheckParameters()
    push: PushTarget = PushTarget()
    card: CardParameters = CardParameters()
    kubeflow: KubeflowParameters = KubeflowParameters()
    beam: BeamParameters = BeamParameters()

    @field_validator('pipeline')
    @classmethod
    def _a_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value) or len(value) > _NAME_LENGTH:
            raise ValueError(
                f'{_short(repr(value))} is not a name that every runner accepts: expected at most '
                f'{_NAME_LENGTH} lower-case letters, '
                'digits and dashes, beginning and ending with a letter or digit'
            )
        return value

    @field_validator('task')
    @classmethod
    def _known_task(cls, value: str) -> str:
        if value not in TASKS:
            raise ValueError(f'no such task: {_short(repr(value))}. Known: {", ".join(TASKS)}')
        return value

    def settings(self) -> dict[str, Any]:
        """The settings that can affect the model, as JSON values; the cluster does not."""
        return self.model_dump(mode='json', exclude={'kubeflow'})

    @property
    def push_directory(self) -> str:
        """The directory that TF Serving watches; `root` has to be set."""
        assert self.root is not None
        return self.push.directory or RunRoot(self.root).serving

    @property
    def artifacts_directory(self) -> str:
        """Where artifacts go; `root` has to be set."""
        assert self.root is not None
        return self.artifacts or RunRoot(self.root).artifacts

    @model_validator(mode='after')
    def _one_label(self) -> Config:
        label = TASKS[self.task].label
        if 'task_label' in self.audit.model_fields_set and self.audit.task_label != label:
            raise ValueError(
                f'audit.task_label is {self.audit.task_label!r}, but task {self.task!r} learns '
                f'{label!r}: leave it out'
            )
        return self

    @model_validator(mode='after')
    def _gates_can_pass(self) -> Config:
        problems = [
            f'evaluation.thresholds.{number}: {problem}'
            for number, threshold in enumerate(self.evaluation.thresholds)
            for problem in threshold.problems(TASKS[self.task], self.data.metadata is not None)
        ]
        if problems:
            raise ValueError('\n'.join(problems))
        return self

    @model_validator(mode='after')
    def _no_search_from_other_weights(self) -> Config:
        if self.tuning.trials and self.train.warm_start != 'none':
            raise ValueError(
                'tuning.trials start from ImageNet weights, so that what they find does not hold '
                f'for train.warm_start {self.train.warm_start!r}: set one of them to 0 or none'
            )
        return self

    @model_validator(mode='after')
    def _something_is_trained(self) -> Config:
        check_something_is_trained(self.model, self.train)
        return self

    @model_validator(mode='after')
    def _workers_reach_what_they_need(self) -> Config:
        if missing := list(self.beam.missing()):
            raise ValueError(f'beam.engine is {self.beam.engine}: give {", ".join(missing)}')
        if self.beam.engine == 'dataflow':
            for key, path in (
                ('data.root', self.data.root),
                ('artifacts', self.artifacts or self.root or ''),
            ):
                if path is not None and not path.startswith('gs://'):
                    raise ValueError(
                        'beam.engine is dataflow, whose workers cannot read paths of this machine: '
                        f'give a gs:// folder as {key}'
                    )
        return self


def load(path: str, settings: Iterable[str] = (), **overrides: Any) -> Config:
    """Reads a configuration file and overrides single keys.

    Args:
      path: the YAML file.
      settings: `key=value` with dotted keys and values in YAML, as for `--set`.
      **overrides: values by key, with `__` for each dot; None leaves the key unchanged.

    Example:
        >>> config = load('pipeline/configs/demo.yaml', ['train.epochs=3'], data__root='data')
        >>> config.train.epochs, config.data.root
        (3, 'data')

    Raises:
      ConfigError: the file is missing or not valid YAML, or a key or value is not allowed.
    """
    content = _read(path)
    for setting in settings:
        _override(content, *_setting(setting), f'--set {_short(setting)}')
    for name, value in overrides.items():
        if value is not None:
            key = name.replace('__', '.')
            try:
                yaml_values.check_text(value)
            except ValueError as error:
                raise ConfigError(f'{key}: {value!r}: {error}') from None
            _override(content, key, value, path)
    try:
        # As JSON: strict mode then accepts lists for tuples, but not "3" or true for numbers.
        return Config.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise ConfigError('\n'.join(_problems(path, error))) from None


def _read(path: str) -> dict:
    try:
        with open(path, 'rb') as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f'{path}: cannot be read ({reason}). The configurations that come with cxr-triage: '
            f'{_shipped()}'
        ) from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f'{path}: larger than {_MAX_BYTES:,} bytes: not a configuration')
    try:
        content = yaml_values.parse(data.decode('utf-8'))
    except UnicodeDecodeError as error:
        raise ConfigError(f'{path}: not UTF-8 text (byte {error.start})') from None
    except yaml_values.YamlError as error:
        position = f', line {error.line}, column {error.column}' if error.line else ''
        raise ConfigError(f'{path}{position}: {error}') from None
    if not isinstance(content, dict):
        raise ConfigError(
            f'{path}: expected keys and values at the top, found {type(content).__name__}'
        )
    return content


def _setting(text: str) -> tuple[str, Any]:
    """The key and the value of a `--set` option."""
    key, equals, value = text.partition('=')
    key = key.strip()
    if not equals or not all(key.split('.')):
        raise ConfigError(f'--set {_short(text)}: expected key=value, e.g. train.epochs=3')
    try:
        return key, yaml_values.parse(value)
    except yaml_values.YamlError as error:
        raise ConfigError(f'--set {_short(text)}: {error}') from None


def _short(text: str) -> str:
    """Text for a message: shortened, with control characters escaped."""
    printable = text if text.isprintable() else repr(text)
    return printable if len(printable) <= _SHOWN else f'{printable[:_SHOWN]}…'


def _shipped() -> str:
    folder = os.path.join(os.path.dirname(__file__), 'configs')
    return ', '.join(
        sorted(os.path.join('pipeline', 'configs', name) for name in os.listdir(folder))
    )


def _override(content: dict, key: str, value: Any, source: str) -> None:
    *parents, last = key.split('.')
    section = content
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(f'{source}: {parent!r} has a value, not keys')
    section[last] = value


def _problems(path: str, error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        key = '.'.join(str(part) for part in problem['loc'])
        if problem['type'] == 'extra_forbidden':
            yield (
                f'{path}: unknown key {_short(repr(key))}. Allowed there: '
                f'{", ".join(_allowed(problem["loc"][:-1]))}'
            )
        else:
            text = problem['msg'].removeprefix('Value error, ')
            actual = (
                ''
                if problem['type'] in ('value_error', 'missing')
                else f' (found {_short(repr(problem["input"]))})'
            )
            yield f'{path}: {key or "the configuration"}: {text}{actual}'


def _allowed(keys: tuple) -> list[str]:
    model: type[BaseModel] = Config
    for key in keys:
        field = model.model_fields.get(key) if isinstance(key, str) else None
        if field is None:
            continue
        kinds = [field.annotation, *getattr(field.annotation, '__args__', ())]
        model = next(
            (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)),
            model,
        )
    return list(model.model_fields)
