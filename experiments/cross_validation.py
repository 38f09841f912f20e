"""Answers to every film by a network that was trained on other patients: the trainer's own
training, fold by fold.

What is done is kept under the scratch folder by all that determines it, so that a broken-off
benchmark goes on where it was.
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
# Of the other folds' patients, those that say when to stop and how sure the network is.
_HELD_OUT = 6
# Of the regression on frozen features; the best of 1, 0.1, 0.01, 0.001 and 0.0001 on the NIH
# sample.
_INVERSE_PENALTY = 0.001


@dataclasses.dataclass(frozen=True)
class Plan:
    """One way of training."""

    task: str
    parameters: TrainerParameters
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Answers:
    """What networks say of films that they did not see.

    Attributes:
      probabilities: of the task's outputs, calibrated, float64 [n, outputs].
      maps: where those of its label come from, float32 [n, height, width], see
        `trainer.model.evidence`.
    """

    probabilities: np.ndarray
    maps: np.ndarray


def answers(plan: Plan, cohort: Cohort, scratch: Path, console: Console) -> Answers:
    """Each film is answered by the fold that it was not in."""
    folds = metadata_model.folds(cohort.patients, FOLDS, plan.seed)
    parts = []
    for fold in range(FOLDS):
        kept = scratch / 'folds' / f'{key(plan, cohort)}-{fold}.npz'
        if not kept.exists():
            console.print(f'  fold {fold + 1} of {FOLDS}', style='dim')
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez(kept, **vars(_answers(plan, TASKS[plan.task], cohort, folds, fold)))
        parts.append(np.load(kept))
    # Back from the order of folds to that of the films.
    place = np.argsort(np.argsort(folds, kind='stable'))
    return Answers(
        *(
            np.concatenate([part[field.name] for part in parts])[place]
            for field in dataclasses.fields(Answers)
        )
    )


def of_frozen_features(
    task: Task,
    cohort: Cohort,
    parameters: ModelParameters,
    scratch: Path,
    seed: int = 0,
    layer: str | None = None,
) -> np.ndarray:
    """The floor: probabilities float64 [n, outputs] of logistic regressions on the features of the
    untouched backbone, same folds; of its last layer, or of the mean over the places of a layer
    within, by its name in Keras."""
    features = _frozen_features(cohort, parameters, scratch, layer)
    folds = metadata_model.folds(cohort.patients, FOLDS, seed)
    answers = np.empty((len(folds), len(task.outputs)))
    for place, name in enumerate(task.outputs):
        for fold in range(FOLDS):
            here = folds == fold
            label = cohort.labels[name][~here]
            if len(np.unique(label)) == 1:
                answers[here, place] = label[0]
                continue
            model = make_pipeline(
                StandardScaler(),
                LogisticRegression(C=_INVERSE_PENALTY, class_weight='balanced', max_iter=2000),
            )
            answers[here, place] = model.fit(features[~here], label).predict_proba(features[here])[
                :, 1
            ]
    return answers


def _frozen_features(
    cohort: Cohort, parameters: ModelParameters, scratch: Path, layer: str | None
) -> np.ndarray:
    name = '-'.join(filter(None, ('features', cohort.key, parameters.backbone, layer)))
    kept = scratch / 'folds' / f'{name}.npy'
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        network = model_lib.build(parameters)
        extractor = _extractor_within(network, layer) if layer else network.extractor
        with tempfile.TemporaryDirectory() as folder:
            films = cohort_lib.split(cohort, ['abnormal'], Path(folder) / 'all')
            np.save(kept, training.extract(extractor, films, 32, 'frozen')[0])
    return np.load(kept)


def _extractor_within(network: model_lib.Network, layer: str) -> keras.Model:
    """As `network.extractor`, of a layer within the backbone: pixels -> float32 [batch, its
    channels].
    """
    backbone = network.backbone
    scale = next(layer for layer in network.extractor.layers if isinstance(layer, model_lib.Scale))
    maps = keras.Model(backbone.input, backbone.get_layer(layer).output)(
        scale.output, training=False
    )
    return keras.Model(network.extractor.input, keras.layers.GlobalAveragePooling2D()(maps))


def _answers(plan: Plan, task: Task, cohort: Cohort, folds: np.ndarray, fold: int) -> Answers:
    """Trains on the other folds, answers for this one."""
    here = np.flatnonzero(folds == fold)
    others = np.flatnonzero(folds != fold)
    held_out = metadata_model.folds(cohort.patients[others], _HELD_OUT, plan.seed + 1) == 0
    places = {'train': others[~held_out], 'val': others[held_out], 'test': here}
    batch = plan.parameters.train.batch_size
    with trained(plan, cohort, places) as (network, splits):
        known = training.predict_logits(network.model, splits['val'], batch)
        asked = input_pipeline.evaluation_batches(splits['test'], batch)
        said = [model_lib.evidence(network, pixels) for pixels, _ in asked]
        if input_pipeline.image_ids(splits['test']) != [cohort.ids[row] for row in here]:
            raise RuntimeError(
                'the films of the test split are not in the order of the cohort: answers would be '
                'of other films'
            )
    fitted = calibration.fit_each(*known, task.outputs)
    logits, maps = (np.concatenate([part[place] for part in said]) for place in range(2))
    return Answers(
        np.stack([fit.apply(logits[:, place]) for place, fit in enumerate(fitted)], axis=1), maps
    )


@contextlib.contextmanager
def trained(
    plan: Plan, cohort: Cohort, places: Mapping[str, np.ndarray]
) -> Iterator[tuple[model_lib.Network, dict[str, Split]]]:
    """A network that was trained as the pipeline trains it, and the splits, whose files are there
    as long as the context lasts.

    Args:
      plan: what is trained.
      cohort: the films.
      places: split -> its films, by their places; `train`, `val`, and whatever is to be asked for.
    """
    keras.backend.clear_session()
    targets = training.targets(TASKS[plan.task], plan.parameters.train)
    with tempfile.TemporaryDirectory() as folder:
        splits = {
            name: cohort_lib.split(cohort.chosen(rows), targets.labels, Path(folder) / name)
            for name, rows in places.items()
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
    """Names a training by all that determines it."""
    code = digest('trainer.training', 'trainer.calibration')
    parameters = json.dumps(settings(plan), separators=(',', ':'))
    return hashlib.sha256(
        '\n'.join([cohort.key, plan.task, str(plan.seed), parameters, code]).encode()
    ).hexdigest()[:16]


def settings(plan: Plan) -> dict[str, Any]:
    """What a training is told, as JSON; not where its weights lie, as the path is another one on
    another machine.
    """
    return plan.parameters.model_dump(
        mode='json', exclude={'model': {'weights'}, 'operating_point': True}
    )
