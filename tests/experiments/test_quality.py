"""Cross-validation of the trainer: images as in the pipeline, separate patients, and figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from rich.console import Console

from components.evaluator import metadata_model
from experiments import ablation, cohort, cross_validation, quality
from experiments.cohort import Cohort
from records.synth import write_dataset
from schemas.labels import ABNORMAL
from trainer import input_pipeline
from trainer.parameters import ModelParameters
from trainer.tasks import TASKS

SIDE = 32
SMALL = (
    'model.backbone=scratch_cnn',
    f'model.image_size={SIDE}',
    'train.epochs=1',
    'train.learning_rate=0.001',
)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic images in the NIH layout."""
    folder = tmp_path_factory.mktemp('data')
    write_dataset(folder, count=120, seed=3, size=96)
    return folder


@pytest.fixture(scope='module')
def images(data: Path) -> Cohort:
    """The loaded images."""
    return cohort.load(data, SIDE)


def test_images_are_read_with_their_metadata(images: Cohort) -> None:
    assert (
        len(images.stored) == len(images.ids) == len(images.patients) == len(images.entries) == 120
    )
    assert tf.io.decode_png(images.stored[0]).shape == (SIDE, SIDE, 1)
    assert all(
        image_id.startswith(patient)
        for image_id, patient in zip(images.ids, images.patients, strict=True)
    )
    assert np.array_equal(images.labels[ABNORMAL], 1 - images.labels['No Finding'])
    assert set(images.column('sex')) == {'F', 'M'}


def test_another_size_is_another_cohort(data: Path, images: Cohort) -> None:
    assert cohort.load(data, 48).key != images.key == cohort.load(data, SIDE).key


def test_a_split_has_its_images_and_labels(images: Cohort, tmp_path: Path) -> None:
    rows = np.array([5, 3, 77])
    split = cohort.split(images.subset(rows), [ABNORMAL, 'Mass'], tmp_path / 'split')
    assert input_pipeline.image_ids(split) == [images.ids[row] for row in rows]
    assert split.values.tolist() == [
        [images.labels[ABNORMAL][row], images.labels['Mass'][row]] for row in rows
    ]
    pixels = np.concatenate([batch for batch, _ in input_pipeline.evaluation_batches(split, 2)])
    assert all(
        np.array_equal(pixels[index], tf.io.decode_png(images.stored[row]))
        for index, row in enumerate(rows)
    )


def test_a_patient_is_in_one_fold(images: Cohort) -> None:
    folds = metadata_model.folds(images.patients, 5, 0)
    assert set(folds) == set(range(5))
    assert all(len(set(folds[images.patients == patient])) == 1 for patient in images.patients)
    assert not np.array_equal(folds, metadata_model.folds(images.patients, 5, 1))


@pytest.mark.parametrize('name', list(ablation.VARIANTS))
def test_each_variant_differs_from_the_first(name: str) -> None:
    first = ablation.plan('nih_triage', None, ())
    assert (ablation.plan('nih_triage', None, ablation.VARIANTS[name]) == first) is (
        name == ablation.FIRST
    )


@pytest.mark.parametrize('task', ['nih_triage', 'findings14', 'pneumonia_pediatric'])
def test_without_class_weights_the_ablation_is_the_configuration(task: str) -> None:
    assert ablation.plan(task, None, ablation.VARIANTS['no class weights']) == quality.plan(
        task, None, ()
    )


def test_an_ablation_has_means_over_seeds_and_the_spread_between_them(images: Cohort) -> None:
    label = images.labels[ABNORMAL][:, None].astype(float)
    constant = np.full((120, 1), 0.5)
    rows = ablation.figures(
        'nih_triage',
        images,
        {'with class weights': [label, constant], 'no warm-up': [label, label]},
    )
    first, other = rows.values()
    assert (first.auc.value, other.auc.value, other.less.value) == (0.75, 1, 0.25)
    assert first.spread == pytest.approx(0.5 / np.sqrt(2))
    assert other.spread == first.less.lower == first.less.upper == 0
    one_seed = ablation.figures('nih_triage', images, {'with class weights': [constant]})
    assert one_seed['with class weights'].spread is None


def test_new_rows_update_the_results_of_the_same_training(tmp_path: Path) -> None:
    path = tmp_path / 'ablation.json'

    def results(epochs: int, seeds: tuple[int, ...] = (0,), **aucs: float) -> dict:
        rows = {name.replace('_', ' '): {'auc': {'value': value}} for name, value in aucs.items()}
        return {'settings': {'epochs': epochs}, 'seeds': list(seeds), 'variants': rows}

    stored = results(8, with_class_weights=0.8, head_alone=0.7, dropout=0.6, all_layers=0.5) | {
        'task': 'nih_triage'
    }
    path.write_text(json.dumps(stored))
    updated = ablation.updated(
        path,
        results(8, with_class_weights=0.8001, batch_normalisation_trained=0.75, all_layers=0.55),
    )
    values = {name: row['auc']['value'] for name, row in updated['variants'].items()}
    # In the order of VARIANTS, without rows of variants that no longer exist.
    assert list(values.items()) == [
        ('with class weights', 0.8),
        ('head alone', 0.7),
        ('batch normalisation trained', 0.75),
        ('all layers', 0.55),
    ]
    for other in (
        results(9, with_class_weights=0.8),
        results(8, (0, 1), with_class_weights=0.8),
        results(8, with_class_weights=0.79),
    ):
        with pytest.raises(ValueError, match='measure the whole table'):
            ablation.updated(path, other)
    with pytest.raises(ValueError, match='no such file'):
        ablation.updated(tmp_path / 'none.json', stored)


def test_figures_of_perfect_and_constant_predictions(images: Cohort) -> None:
    label = images.labels[ABNORMAL]
    perfect, constant = label[:, None] * 0.8 + 0.1, np.full((120, 1), 0.5)
    figures = quality.figures('nih_triage', images, perfect, {quality.FLOOR: constant})
    assert (figures['AUC'].value, figures['AUC, frozen features'].value) == (1, 0.5)
    assert (
        figures['AUC above frozen features'].value
        == figures['AUC above frozen features'].lower
        == 0.5
    )
    assert (
        figures['accuracy at 0.5'].value
        == figures['sensitivity at 0.5'].value
        == figures['AUC within PA films'].value
        == 1
    )
    assert figures['expected calibration error'].value == pytest.approx(0.1)
    assert 'AUC of age, sex and view alone' in figures


def test_the_largest_errors_are_listed_first(images: Cohort, tmp_path: Path) -> None:
    label = images.labels[ABNORMAL]
    probability = np.linspace(0.0, 1.0, 120)
    quality.write_probabilities(tmp_path / 'predictions.csv', images, ABNORMAL, probability)
    with (tmp_path / 'predictions.csv').open(newline='') as file:
        lines = list(csv.DictReader(file))
    errors = [round(abs(int(line[ABNORMAL]) - float(line['probability'])), 4) for line in lines]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.9
    row = images.ids.index(lines[7]['image_id'])
    assert lines[7]['patient_id'] == images.patients[row]
    assert (int(lines[7][ABNORMAL]), float(lines[7]['probability'])) == (
        label[row],
        round(probability[row], 4),
    )
    assert {line['image_id'] for line in lines} == set(images.ids)


def test_a_source_with_enough_images_of_both_classes_has_a_row(images: Cohort) -> None:
    label = images.labels[ABNORMAL]
    order = np.argsort(label, kind='stable')
    sources = np.empty(120, dtype='<U4')
    # Source a has most images; the images of source b all have the same class.
    sources[order] = ['b'] * 10 + ['a'] * 110
    assert label[order[:10]].sum() == 0
    misleading = np.where(sources == 'b', 0.1, 0.5)[:, None]
    figures = quality.figures(
        'nih_triage', dataclasses.replace(images, sources=sources), misleading, {}
    )
    assert figures['AUC'].value > 0.5
    assert figures['AUC within 110 films of source a'].value == 0.5
    assert not any('source b' in name for name in figures)
    # A single source has no row.
    assert not any(
        'source' in name for name in quality.figures('nih_triage', images, misleading, {})
    )


def test_with_floor_nothing_is_trained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cross_validation, 'predict', None)
    settings = [argument for setting in SMALL for argument in ('--set', setting)]
    quality.main(
        ['nih_triage', '--data-root', str(data), '--scratch', str(tmp_path), '--floor', *settings]
    )
    output = capsys.readouterr().out
    assert 'AUC within PA films' in output
    assert 'above' not in output


@pytest.mark.parametrize('task', list(quality.ALTERNATIVES))
def test_alternatives_are_different_trainings(task: str) -> None:
    plans = [
        quality.plan(task, 'weights.h5', settings)
        for settings in ((), *quality.ALTERNATIVES[task].values())
    ]
    assert len({plan.parameters.model_dump_json() for plan in plans}) == len(plans)
    assert all(
        (plan.parameters.model.weights is None) is (plan.parameters.model.backbone == 'scratch_cnn')
        for plan in plans
    )


def test_each_finding_has_a_figure(images: Cohort) -> None:
    outputs = TASKS['findings14'].outputs
    truth = np.stack([images.labels[name] for name in outputs], axis=1).astype(float)
    figures = quality.figures(
        'findings14', images, truth, {quality.FLOOR: np.full_like(truth, 0.5)}
    )
    assert figures['mean AUC of findings'].value == 1
    assert figures['mean AUC of findings above frozen features'].value == 0.5
    assert figures['AUC of Effusion'].value == 1


@pytest.mark.slow
def test_no_network_is_trained_on_the_patients_it_predicts(
    images: Cohort, tmp_path: Path, monkeypatch
) -> None:
    plan = quality.plan('findings14', None, SMALL)
    folds_of_patients: list[tuple[set[str], set[str]]] = []
    train = cross_validation.training.train

    def recorded_train(network, splits, *rest):
        patients = {
            name: {
                images.patients[images.ids.index(image)]
                for image in input_pipeline.image_ids(split)
            }
            for name, split in splits.items()
        }
        folds_of_patients.append((patients['train'] | patients['val'], patients['test']))
        assert not patients['train'] & patients['val']
        return train(network, splits, *rest)

    monkeypatch.setattr(cross_validation.training, 'train', recorded_train)
    console = Console(file=io.StringIO())
    predictions = cross_validation.predict(plan, images, tmp_path, console)
    assert predictions.probabilities.shape == (120, 15)
    assert ((predictions.probabilities > 0) & (predictions.probabilities < 1)).all()
    assert predictions.maps.shape == (120, 1, 1)
    assert len(folds_of_patients) == cross_validation.FOLDS
    assert not any(trained & tested for trained, tested in folds_of_patients)
    assert set.union(*(tested for _, tested in folds_of_patients)) == set(images.patients)
    # A second call reads the finished folds.
    cached = cross_validation.predict(plan, images, tmp_path, console)
    assert np.array_equal(cached.probabilities, predictions.probabilities)
    assert len(folds_of_patients) == cross_validation.FOLDS
    # Probabilities and maps are those of the same image: in a fold, they have the same order.
    folds = metadata_model.folds(images.patients, cross_validation.FOLDS, plan.seed)
    for fold in range(cross_validation.FOLDS):
        in_fold = folds == fold
        order = np.argsort(predictions.maps[in_fold, 0, 0])
        assert (np.diff(predictions.probabilities[in_fold, 0][order]) >= -1e-6).all()


@pytest.mark.slow
def test_the_floor_has_a_plausible_auc(images: Cohort, tmp_path: Path) -> None:
    plan = quality.plan('nih_triage', None, SMALL)
    floor = cross_validation.predict_from_frozen_features(
        TASKS['nih_triage'], images, plan.parameters.model, tmp_path
    )
    assert floor.shape == (120, 1)
    assert 0.3 < quality.figures('nih_triage', images, floor, {})['AUC'].value < 1


@pytest.mark.slow
def test_the_floor_of_an_inner_layer(images: Cohort, tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    keras.applications.MobileNetV2(
        input_shape=(SIDE, SIDE, 3), include_top=False, weights=None
    ).save_weights(tmp_path / 'no_top.h5')
    parameters = ModelParameters(image_size=SIDE, weights=str(tmp_path / 'no_top.h5'))

    def features(layer: str | None) -> np.ndarray:
        cross_validation.predict_from_frozen_features(
            TASKS['nih_triage'], images, parameters, tmp_path, layer=layer
        )
        return np.load(
            max((tmp_path / 'folds').iterdir(), key=lambda path: path.stat().st_mtime_ns)
        )

    last, last_by_name, inner = (
        features(None),
        features('out_relu'),
        features(quality.INNER_LAYERS['mobilenet_v2']),
    )
    assert last.std() > 0
    assert np.allclose(last, last_by_name, atol=1e-6)
    assert (last.shape, inner.shape) == ((120, 1280), (120, 576))
    floors = quality.floors('nih_triage', images, parameters, tmp_path)
    assert list(floors) == ['frozen features', 'frozen features of block_13_expand_relu']
    assert not np.array_equal(*floors.values())
    # A network from scratch has no inner layer in the list.
    scratch = quality.plan('nih_triage', None, SMALL).parameters.model
    assert list(quality.floors('nih_triage', images, scratch, tmp_path)) == ['frozen features']
