"""Predictions for each image by a network that was trained on other patients, fold by fold.

Finished folds are cached in the scratch folder, so that an interrupted experiment resumes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from components.evaluator import metadata_model
from experiments import cohort as cohort_lib
from experiments.cohort import Cohort
from pipeline.code_digest import digest
from trainer import calibration, input_pipeline, training
from trainer import model as model_lib
from trainer.checkpoints import TrainingState
from trainer.input_pipeline import Split
from trainer.parameters import ModelParameters, TrainerParameters
from trainer.tasks import TASKS, Task
from trainer.training_history import TrainingHistory

FOLDS = 5
# One in 6 patients of the other folds is held out for early stopping and calibration.
_HELD_OUT = 6
# Of the regression on frozen features: the best of 1, 0.1, 0.01, 0.001 and 0.0001 on the NIH
# sample.
_INVERSE_PENALTY = 0.001


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training: its task, parameters and the seed of the folds."""

    task: str
    parameters: TrainerParameters
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions for images that the networks were not trained on.

    Attributes:
      probabilities: of the task's outputs, calibrated, float64 [n, outputs].
      maps: heat maps of the task's label, float32 [n, height, width], see `trainer.model.evidence`.
    """

    probabilities: np.ndarray
    maps: np.ndarray


def predict(plan: Plan, cohort: Cohort, scratch: Path, console: Console) -> Predictions:
    """Predicts for each image with the network whose training did not include its fold."""
    folds = metadata_model.folds(cohort.patients, FOLDS, plan.seed)
    parts = []
    for fold in range(FOLDS):
        path = scratch / 'folds' / f'{key(plan, cohort)}-{fold}.npz'
        if not path.exists():
            console.print(f'  fold {fold + 1} of {FOLDS}', style='dim')
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **vars(_predict_fold(plan, TASKS[plan.task], cohort, folds, fold)))
        parts.append(np.load(path))
    # From the order of folds to the order of the cohort.
    order = np.argsort(np.argsort(folds, kind='stable'))
    return Predictions(
        *(
            np.concatenate([part[field.name] for part in parts])[order]
            for field in dataclasses.fields(Predictions)
        )
    )


def predict_from_frozen_features(
    task: Task,
    cohort: Cohort,
    parameters: ModelParameters,
    scratch: Path,
    seed: int = 0,
    layer: str | None = None,
) -> np.ndarray:
    """The floor: probabilities from logistic regressions on the features of the frozen backbone.

    The folds are the same as in `predict`. The features are those of the last layer, or the means
    over the positions of an inner layer.

    Args:
      task: its outputs are predicted.
      cohort: the images.
      parameters: backbone and image size.
      scratch: folder for cached features.
      seed: of the folds.
      layer: Keras's name of an inner layer.

    Returns:
      float64 [n, outputs].
    """
    features = frozen_features(cohort, parameters, scratch, layer)
    folds = metadata_model.folds(cohort.patients, FOLDS, seed)
    probabilities = np.empty((len(folds), len(task.outputs)))
    for column, name in enumerate(task.outputs):
        for fold in range(FOLDS):
            in_fold = folds == fold
            label = cohort.labels[name][~in_fold]
            if len(np.unique(label)) == 1:
                probabilities[in_fold, column] = label[0]
                continue
            model = make_pipeline(
                StandardScaler(),
                LogisticRegression(C=_INVERSE_PENALTY, class_weight='balanced', max_iter=2000),
            )
            model.fit(features[~in_fold], label)
            probabilities[in_fold, column] = model.predict_proba(features[in_fold])[:, 1]
    return probabilities


def frozen_features(
    cohort: Cohort, parameters: ModelParameters, scratch: Path, layer: str | None = None
) -> np.ndarray:
    """The features of the frozen backbone, float32 [n, channels]; cached in `scratch`."""
    name = '-'.join(filter(None, ('features', cohort.key, parameters.backbone, layer)))
    path = scratch / 'folds' / f'{name}.npy'
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        network = model_lib.build(parameters)
        extractor = _inner_extractor(network, layer) if layer else network.extractor
        with tempfile.TemporaryDirectory() as folder:
            images = cohort_lib.split(cohort, ['abnormal'], Path(folder) / 'all')
            np.save(path, training.extract(extractor, images, 32, 'frozen')[0])
    return np.load(path)


def _inner_extractor(network: model_lib.Network, layer: str) -> keras.Model:
    """Maps pixels to the features of an inner layer, float32 [batch, channels of the layer]."""
    backbone = network.backbone
    scale = next(layer for layer in network.extractor.layers if isinstance(layer, model_lib.Scale))
    maps = keras.Model(backbone.input, backbone.get_layer(layer).output)(
        scale.output, training=False
    )
    return keras.Model(network.extractor.input, keras.layers.GlobalAveragePooling2D()(maps))


def _predict_fold(
    plan: Plan, task: Task, cohort: Cohort, folds: np.ndarray, fold: int
) -> Predictions:
    """Trains on the other folds, and predicts for this one."""
    test = np.flatnonzero(folds == fold)
    other_folds = np.flatnonzero(folds != fold)
    held_out = metadata_model.folds(cohort.patients[other_folds], _HELD_OUT, plan.seed + 1) == 0
    rows = {'train': other_folds[~held_out], 'val': other_folds[held_out], 'test': test}
    batch_size = plan.parameters.train.batch_size
    with trained_network(plan, cohort, rows) as (network, splits):
        val_logits, val_labels = training.predict_logits(network.model, splits['val'], batch_size)
        batches = input_pipeline.evaluation_batches(splits['test'], batch_size)
        logits, maps = zip(
            *(model_lib.evidence(network, pixels) for pixels, _ in batches), strict=True
        )
        if input_pipeline.image_ids(splits['test']) != [cohort.ids[row] for row in test]:
            raise RuntimeError(
                'the images of the test split are not in the order of the cohort: predictions '
                'would belong to other images'
            )
    calibrations = calibration.fit_each(val_logits, val_labels, task.outputs)
    test_logits = np.concatenate(logits)
    probabilities = [
        fitted.apply(test_logits[:, column]) for column, fitted in enumerate(calibrations)
    ]
    return Predictions(np.stack(probabilities, axis=1), np.concatenate(maps))


@contextlib.contextmanager
def trained_network(
    plan: Plan, cohort: Cohort, rows: Mapping[str, np.ndarray]
) -> Iterator[tuple[model_lib.Network, dict[str, Split]]]:
    """Trains a network as the pipeline does; returns it with the splits.

    The files of the splits exist only inside the context.

    Args:
      plan: the training.
      cohort: the images.
      rows: split -> indices of its images. `train` and `val` are required.
    """
    keras.backend.clear_session()
    targets = training.targets(TASKS[plan.task], plan.parameters.train)
    with tempfile.TemporaryDirectory() as folder:
        splits = {
            name: cohort_lib.split(cohort.subset(indices), targets.labels, Path(folder) / name)
            for name, indices in rows.items()
        }
        state = TrainingState(str(Path(folder) / 'state'))
        strategy = training.prepare(plan.parameters)
        with strategy.scope():
            network = model_lib.build(plan.parameters.model, len(targets.labels))
        training.train(
            network,
            splits,
            plan.parameters,
            state,
            TrainingHistory(state.history, folder),
            strategy,
            targets,
        )
        yield network, splits


def key(plan: Plan, cohort: Cohort) -> str:
    """A digest of everything that determines a training."""
    code = digest('trainer.training', 'trainer.calibration')
    parameters = json.dumps(settings(plan), separators=(',', ':'))
    return hashlib.sha256(
        '\n'.join([cohort.key, plan.task, str(plan.seed), parameters, code]).encode()
    ).hexdigest()[:16]


def settings(plan: Plan) -> dict[str, Any]:
    """The parameters of a training as JSON, without the path of its weights, where it starts."""
    return plan.parameters.model_dump(
        mode='json',
        exclude={'model': {'weights'}, 'train': {'warm_start'}, 'operating_point': True},
    )
