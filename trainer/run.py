"""`run_fn` for TFX's Trainer: trains, calibrates, chooses the operating point, and exports."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

import storage
from trainer import calibration, input_pipeline, training, warm_start
from trainer import model as model_lib
from trainer.artifacts import EVALUATION_SPLITS, HISTORY_FILE, MODEL_INFO_FILE, PREDICTIONS_FILE
from trainer.checkpoints import TrainingState
from trainer.input_pipeline import Split
from trainer.parameters import TrainerParameters, with_values
from trainer.signatures import TriageModule
from trainer.tasks import TASKS
from trainer.training_history import TrainingHistory

_log = logging.getLogger(__name__)


def run_fn(fn_args) -> None:
    """Trains one model.

    Args:
      fn_args: from TFX. Its `custom_config` has `parameters` (JSON of TrainerParameters), `task`,
        `pipeline`, `weights_digest`, `code_digest`, and `checkpoints`, a directory that outlives a
        killed run (if it is '', checkpoints are in the run's directory). With `train.warm_start`,
        `warm_start` is the number of the served version, and `fn_args.base_model` is that model.

    Raises:
      warm_start.WarmStartError: the training cannot start from the served model.
      backbones.WeightsError: the weights are missing, or belong to another architecture.
      ValueError: a split is empty or has one class only.
    """
    config = fn_args.custom_config
    parameters = TrainerParameters.model_validate_json(config['parameters'])
    if fn_args.hyperparameters:
        parameters = with_values(parameters, fn_args.hyperparameters['values'])
    task = TASKS[config['task']]
    targets = training.targets(task, parameters.train)
    splits = _open_splits(fn_args, targets.labels, parameters)

    start = _start(fn_args, parameters, targets.labels)
    key = _training_key(config, fn_args, splits, start)
    state = TrainingState(
        os.path.join(config['checkpoints'] or fn_args.model_run_dir, f'training-{key}')
    )
    training_history = TrainingHistory(
        state.history,
        os.path.join(fn_args.model_run_dir, 'logs'),
        os.path.join(fn_args.model_run_dir, HISTORY_FILE),
    )
    strategy = training.prepare(parameters)
    with strategy.scope():
        network = model_lib.build(parameters.model, len(targets.labels), pretrained=start is None)
        if start:
            start.apply(network.model)
    training.train(network, splits, parameters, state, training_history, strategy, targets)

    predictions = {
        name: training.predict_logits(network.model, splits[name], parameters.train.batch_size)
        for name in EVALUATION_SPLITS
    }
    weights = input_pipeline.weights(splits['calibration'])
    fitted = calibration.fit_each(
        *predictions['calibration'], targets.labels[: targets.served], weights
    )
    # From here on, only the label of the task counts.
    predictions = {
        name: (logits[:, 0], labels[:, 0]) for name, (logits, labels) in predictions.items()
    }
    logits, labels = predictions['calibration']
    point = calibration.choose_operating_point(
        fitted[0].apply(logits), labels, parameters.operating_point.sensitivity, weights
    )
    _log.info(
        'temperature %.3f; operating point %.4f: sensitivity %.3f, specificity %.3f on the '
        'calibration split',
        fitted[0].temperature,
        point.threshold,
        point.sensitivity,
        point.specificity,
    )
    version = f'{config["pipeline"]}-{key}'
    _export(fn_args, network, parameters, targets, fitted, point, version)
    started_from = None
    if start:
        started_from = {'version': config['warm_start'], 'model_version': start.model_version}
    _write_model_info(
        fn_args.serving_model_dir,
        config,
        parameters,
        splits,
        fitted,
        point,
        version,
        started_from,
    )
    _write_predictions(fn_args.model_run_dir, splits, predictions, fitted[0], point)
    state.discard()


def _start(
    fn_args, parameters: TrainerParameters, labels: Sequence[str]
) -> warm_start.Start | None:
    """The weights of the served model; None if the training does not start from it."""
    if parameters.train.warm_start == 'none':
        return None
    if not fn_args.base_model or not storage.exists(fn_args.base_model):
        raise warm_start.WarmStartError(
            'train.warm_start is served, but no model is served: set it to none for the first model'
        )
    start = warm_start.load(fn_args.base_model, parameters.model, labels)
    _log.info('starting from the weights of model %s', start.model_version)
    return start


def _open_splits(fn_args, labels: Sequence[str], parameters: TrainerParameters) -> dict[str, Split]:
    size = parameters.model.image_size
    splits = {'train': input_pipeline.open_split(fn_args.train_files, labels, size)}
    for name in EVALUATION_SPLITS:
        patterns = [pattern for pattern in fn_args.eval_files if f'Split-{name}/' in pattern]
        splits[name] = input_pipeline.open_split(patterns, labels, size)
    for name, split in splits.items():
        if split.positives in (0, split.records):
            raise ValueError(
                f'the {name} split has {split.positives} records with {labels[0]}=1 of '
                f'{split.records}: both classes are needed'
            )
    return splits


def _training_key(
    config: dict, fn_args, splits: dict[str, Split], start: warm_start.Start | None = None
) -> str:
    """A digest of everything that determines a training, so that only the same training resumes.

    It covers the contents of the files: new images under the same paths change the key.
    """
    settings = [config[name] for name in ('parameters', 'task', 'weights_digest', 'code_digest')]
    contents = [input_pipeline.content_key(split) for split in splits.values()]
    parts = [
        *settings,
        json.dumps(fn_args.hyperparameters),
        fn_args.transform_graph_path,
        *fn_args.train_files,
        *contents,
        *([start.digest] if start else []),
    ]
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]


def _export(
    fn_args,
    network: model_lib.Network,
    parameters: TrainerParameters,
    targets: training.Targets,
    fitted,
    point,
    version: str,
) -> None:
    if keras.mixed_precision.global_policy().compute_dtype != 'float32':
        # Serving may run on a CPU, where float16 is slow. The weights are float32 already.
        keras.mixed_precision.set_global_policy('float32')
        float32_network = model_lib.build(parameters.model, len(targets.labels), pretrained=False)
        float32_network.model.set_weights(network.model.get_weights())
        network = float32_network
    findings = targets.labels[1 : targets.served]
    module = TriageModule(
        network, parameters.model.image_size, fitted, point.threshold, version, findings
    )
    module.export(fn_args.serving_model_dir)


def _write_model_info(
    directory: str,
    config: dict,
    parameters: TrainerParameters,
    splits,
    fitted,
    point,
    version: str,
    started_from: dict | None,
) -> None:
    task = TASKS[config['task']]
    info = {
        'model_version': version,
        'intended_use': 'Research use only, not for clinical use.',
        'task': task.name,
        'positive': task.positive,
        'negative': task.negative,
        'operating_point': vars(point),
        'calibration': {
            name: vars(value) for name, value in zip(task.outputs, fitted, strict=True)
        },
        'image_size': parameters.model.image_size,
        'backbone': parameters.model.backbone,
        'parameters': parameters.model_dump(mode='json'),
        'findings': list(task.findings),
        'started_from': started_from,
        'records': {
            name: {'records': split.records, 'positives': split.positives}
            for name, split in splits.items()
        },
        'code_digest': config['code_digest'],
        'tensorflow': tf.__version__,
    }
    _write_json(os.path.join(directory, MODEL_INFO_FILE), info)


def _write_predictions(directory: str, splits, predictions, fitted, point) -> None:
    """Writes the predictions that ServingCheck expects of the export."""
    rows_by_split = {}
    for name, (logits, labels) in predictions.items():
        # In float32, as the exported graph computes it.
        probabilities = fitted.apply(logits).astype(np.float32)
        rows = zip(input_pipeline.image_ids(splits[name]), probabilities, labels, strict=True)
        rows_by_split[name] = [
            {
                'image_id': image_id,
                'probability': float(p),
                'flag': int(p >= np.float32(point.threshold)),
                'label': int(label),
            }
            for image_id, p, label in rows
        ]
    _write_json(
        os.path.join(directory, PREDICTIONS_FILE),
        {'operating_point': vars(point), 'splits': rows_by_split},
    )


def _write_json(path: str, content: dict) -> None:
    storage.make_dirs(os.path.dirname(path))
    storage.write_text(path, json.dumps(content, indent=1))
