"""Cross-validation of the trainer: films in the pipeline's form, patients apart, figures that
follow from the answers.
"""

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
    """Synthetic films in the NIH layout."""
    folder = tmp_path_factory.mktemp('films')
    write_dataset(folder, count=120, seed=3, size=96)
    return folder


@pytest.fixture(scope='module')
def films(data: Path) -> Cohort:
    """The same, read."""
    return cohort.load(data, SIDE)


def test_films_are_read_with_all_that_is_known_of_them(films: Cohort) -> None:
    assert len(films.stored) == len(films.ids) == len(films.patients) == len(films.entries) == 120
    assert tf.io.decode_png(films.stored[0]).shape == (SIDE, SIDE, 1)
    assert all(
        image_id.startswith(patient)
        for image_id, patient in zip(films.ids, films.patients, strict=True)
    )
    assert np.array_equal(films.labels[ABNORMAL], 1 - films.labels['No Finding'])
    assert set(films.column('sex')) == {'F', 'M'}


def test_another_size_is_another_cohort(data: Path, films: Cohort) -> None:
    assert cohort.load(data, 48).key != films.key == cohort.load(data, SIDE).key


def test_a_split_holds_the_films_it_is_made_of(films: Cohort, tmp_path: Path) -> None:
    rows = np.array([5, 3, 77])
    split = cohort.split(films.chosen(rows), [ABNORMAL, 'Mass'], tmp_path / 'split')
    assert input_pipeline.image_ids(split) == [films.ids[row] for row in rows]
    assert split.values.tolist() == [
        [films.labels[ABNORMAL][row], films.labels['Mass'][row]] for row in rows
    ]
    pixels = np.concatenate([batch for batch, _ in input_pipeline.evaluation_batches(split, 2)])
    assert all(
        np.array_equal(pixels[place], tf.io.decode_png(films.stored[row]))
        for place, row in enumerate(rows)
    )


def test_a_patient_is_in_one_fold(films: Cohort) -> None:
    folds = metadata_model.folds(films.patients, 5, 0)
    assert set(folds) == set(range(5))
    assert all(len(set(folds[films.patients == patient])) == 1 for patient in films.patients)
    assert not np.array_equal(folds, metadata_model.folds(films.patients, 5, 1))


@pytest.mark.parametrize('name', list(ablation.VARIANTS))
def test_each_variant_is_a_configuration_of_its_own(name: str) -> None:
    first = ablation.plan('nih_triage', None, ())
    assert (ablation.plan('nih_triage', None, ablation.VARIANTS[name]) == first) is (
        name == ablation.FIRST
    )


@pytest.mark.parametrize('task', ['nih_triage', 'findings14', 'pneumonia_pediatric'])
def test_the_ablation_is_of_the_configuration_but_for_its_class_weights(task: str) -> None:
    assert ablation.plan(task, None, ablation.VARIANTS['no class weights']) == quality.plan(
        task, None, ()
    )


def test_an_ablation_tells_means_over_seeds_and_the_spread_between_them(films: Cohort) -> None:
    label = films.labels[ABNORMAL][:, None].astype(float)
    none = np.full((120, 1), 0.5)
    found = ablation.figures(
        'nih_triage', films, {'with class weights': [label, none], 'no warm-up': [label, label]}
    )
    first, other = found.values()
    assert (first.auc.value, other.auc.value, other.less.value) == (0.75, 1, 0.25)
    assert first.spread == pytest.approx(0.5 / np.sqrt(2))
    assert other.spread == first.less.lower == first.less.upper == 0
    alone = ablation.figures('nih_triage', films, {'with class weights': [none]})
    assert alone['with class weights'].spread is None


def test_rows_are_laid_over_a_kept_table_of_the_same_training(tmp_path: Path) -> None:
    path = tmp_path / 'ablation.json'

    def measured(epochs: int, seeds: tuple[int, ...] = (0,), **aucs: float) -> dict:
        rows = {name.replace('_', ' '): {'auc': {'value': value}} for name, value in aucs.items()}
        return {'settings': {'epochs': epochs}, 'seeds': list(seeds), 'variants': rows}

    kept = measured(8, with_class_weights=0.8, head_alone=0.7, dropout=0.6, all_layers=0.5) | {
        'task': 'nih_triage'
    }
    path.write_text(json.dumps(kept))
    found = ablation.laid_over(
        path,
        measured(8, with_class_weights=0.8001, batch_normalisation_trained=0.75, all_layers=0.55),
    )
    values = {name: row['auc']['value'] for name, row in found['variants'].items()}
    # In the order of VARIANTS; what is a variant no longer is left out.
    assert list(values.items()) == [
        ('with class weights', 0.8),
        ('head alone', 0.7),
        ('batch normalisation trained', 0.75),
        ('all layers', 0.55),
    ]
    for other in (
        measured(9, with_class_weights=0.8),
        measured(8, (0, 1), with_class_weights=0.8),
        measured(8, with_class_weights=0.79),
    ):
        with pytest.raises(ValueError, match='measure the whole table'):
            ablation.laid_over(path, other)
    with pytest.raises(ValueError, match='no such file'):
        ablation.laid_over(tmp_path / 'none.json', kept)


def test_figures_of_answers_that_are_known(films: Cohort) -> None:
    label = films.labels[ABNORMAL]
    perfect, none = label[:, None] * 0.8 + 0.1, np.full((120, 1), 0.5)
    found = quality.figures('nih_triage', films, perfect, {quality.FLOOR: none})
    assert (found['AUC'].value, found['AUC, frozen features'].value) == (1, 0.5)
    assert (
        found['AUC above frozen features'].value == found['AUC above frozen features'].lower == 0.5
    )
    assert (
        found['accuracy at 0.5'].value
        == found['sensitivity at 0.5'].value
        == found['AUC within PA films'].value
        == 1
    )
    assert found['expected calibration error'].value == pytest.approx(0.1)
    assert 'AUC of age, sex and view alone' in found


def test_answers_begin_with_what_is_most_surely_wrong(films: Cohort, tmp_path: Path) -> None:
    label = films.labels[ABNORMAL]
    probability = np.linspace(0.0, 1.0, 120)
    quality.write_answers(tmp_path / 'answers.csv', films, ABNORMAL, probability)
    with (tmp_path / 'answers.csv').open(newline='') as file:
        lines = list(csv.DictReader(file))
    wrong = [round(abs(int(line[ABNORMAL]) - float(line['probability'])), 4) for line in lines]
    assert wrong == sorted(wrong, reverse=True)
    assert wrong[0] > 0.9
    row = films.ids.index(lines[7]['image_id'])
    assert lines[7]['patient_id'] == films.patients[row]
    assert (int(lines[7][ABNORMAL]), float(lines[7]['probability'])) == (
        label[row],
        round(probability[row], 4),
    )
    assert {line['image_id'] for line in lines} == set(films.ids)


def test_a_source_is_looked_at_by_itself_where_it_has_enough_of_both_classes(films: Cohort) -> None:
    label = films.labels[ABNORMAL]
    order = np.argsort(label, kind='stable')
    sources = np.empty(120, dtype='<U4')
    # Source a holds most films; of what is left, b has one class only.
    sources[order] = ['b'] * 10 + ['a'] * 110
    assert label[order[:10]].sum() == 0
    misleading = np.where(sources == 'b', 0.1, 0.5)[:, None]
    found = quality.figures(
        'nih_triage', dataclasses.replace(films, sources=sources), misleading, {}
    )
    assert found['AUC'].value > 0.5
    assert found['AUC within 110 films of source a'].value == 0.5
    assert not any('source b' in name for name in found)
    # One source for all films is no news.
    assert not any(
        'source' in name for name in quality.figures('nih_triage', films, misleading, {})
    )


def test_the_floor_alone_trains_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cross_validation, 'answers', None)
    settings = [word for setting in SMALL for word in ('--set', setting)]
    quality.main(
        ['nih_triage', '--data-root', str(data), '--scratch', str(tmp_path), '--floor', *settings]
    )
    said = capsys.readouterr().out
    assert 'AUC within PA films' in said
    assert 'above' not in said


@pytest.mark.parametrize('task', list(quality.BESIDE))
def test_what_stands_beside_is_another_training(task: str) -> None:
    plans = [
        quality.plan(task, 'weights.h5', settings)
        for settings in ((), *quality.BESIDE[task].values())
    ]
    assert len({plan.parameters.model_dump_json() for plan in plans}) == len(plans)
    assert all(
        (plan.parameters.model.weights is None) is (plan.parameters.model.backbone == 'scratch_cnn')
        for plan in plans
    )


def test_findings_have_figures_of_their_own(films: Cohort) -> None:
    outputs = TASKS['findings14'].outputs
    truth = np.stack([films.labels[name] for name in outputs], axis=1).astype(float)
    found = quality.figures('findings14', films, truth, {quality.FLOOR: np.full_like(truth, 0.5)})
    assert found['mean AUC of findings'].value == 1
    assert found['mean AUC of findings above frozen features'].value == 0.5
    assert found['AUC of Effusion'].value == 1


@pytest.mark.slow
def test_every_film_is_answered_by_a_network_that_saw_none_of_its_patient(
    films: Cohort, tmp_path: Path, monkeypatch
) -> None:
    plan = quality.plan('findings14', None, SMALL)
    seen: list[tuple[set[str], set[str]]] = []
    train = cross_validation.training.train

    def noted(network, splits, *rest):
        ids = {
            name: {
                films.patients[films.ids.index(image)] for image in input_pipeline.image_ids(split)
            }
            for name, split in splits.items()
        }
        seen.append((ids['train'] | ids['val'], ids['test']))
        assert not ids['train'] & ids['val']
        return train(network, splits, *rest)

    monkeypatch.setattr(cross_validation.training, 'train', noted)
    console = Console(file=io.StringIO())
    answers = cross_validation.answers(plan, films, tmp_path, console)
    assert answers.probabilities.shape == (120, 15)
    assert ((answers.probabilities > 0) & (answers.probabilities < 1)).all()
    assert answers.maps.shape == (120, 1, 1)
    assert len(seen) == cross_validation.FOLDS
    assert not any(learned & asked for learned, asked in seen)
    assert set.union(*(asked for _, asked in seen)) == set(films.patients)
    # What is done is not done again.
    again = cross_validation.answers(plan, films, tmp_path, console)
    assert np.array_equal(again.probabilities, answers.probabilities)
    assert len(seen) == cross_validation.FOLDS
    # Each film has its own answer: the parts of a logit rise with it, fold by fold.
    folds = metadata_model.folds(films.patients, cross_validation.FOLDS, plan.seed)
    for fold in range(cross_validation.FOLDS):
        here = folds == fold
        order = np.argsort(answers.maps[here, 0, 0])
        assert (np.diff(answers.probabilities[here, 0][order]) >= -1e-6).all()


@pytest.mark.slow
def test_the_floor(films: Cohort, tmp_path: Path) -> None:
    plan = quality.plan('nih_triage', None, SMALL)
    floor = cross_validation.of_frozen_features(
        TASKS['nih_triage'], films, plan.parameters.model, tmp_path
    )
    assert floor.shape == (120, 1)
    assert 0.3 < quality.figures('nih_triage', films, floor, {})['AUC'].value < 1


@pytest.mark.slow
def test_the_floor_of_a_layer_within(films: Cohort, tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    keras.applications.MobileNetV2(
        input_shape=(SIDE, SIDE, 3), include_top=False, weights=None
    ).save_weights(tmp_path / 'no_top.h5')
    parameters = ModelParameters(image_size=SIDE, weights=str(tmp_path / 'no_top.h5'))

    def features(layer: str | None) -> np.ndarray:
        cross_validation.of_frozen_features(
            TASKS['nih_triage'], films, parameters, tmp_path, layer=layer
        )
        return np.load(
            max((tmp_path / 'folds').iterdir(), key=lambda path: path.stat().st_mtime_ns)
        )

    last, named, within = (
        features(None),
        features('out_relu'),
        features(quality.WITHIN['mobilenet_v2']),
    )
    assert last.std() > 0
    assert np.allclose(last, named, atol=1e-6)
    assert (last.shape, within.shape) == ((120, 1280), (120, 576))
    floors = quality.floors('nih_triage', films, parameters, tmp_path)
    assert list(floors) == ['frozen features', 'frozen features of block_13_expand_relu']
    assert not np.array_equal(*floors.values())
    # A network from scratch has no layer that would be worth more than its last one.
    scratch = quality.plan('nih_triage', None, SMALL).parameters.model
    assert list(quality.floors('nih_triage', films, scratch, tmp_path)) == ['frozen features']
