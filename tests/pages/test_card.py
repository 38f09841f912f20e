"""A model card is complete, and its HTML and Markdown contain all of its JSON."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest

from components.evaluator import registry
from pages import card, card_build, card_history, card_sections, card_text, runs
from pages import store as store_lib
from pipeline.run_record import NOT_BLESSED
from records import origin
from tests.support.synthetic_root import RootBuilder
from trainer.tasks import TASKS

INTERVAL = {'value': 0.8125, 'lower': 0.75, 'upper': 0.875, 'reason': None}
UNDEFINED = {'value': None, 'lower': None, 'upper': None, 'reason': 'no image is negative'}


def card_parts() -> dict[str, Any]:
    """All parts of a model card; no two texts are equal."""
    return {
        'details': {
            'name': 'demo',
            'run': 'wider head 2026-11-21 22:25:35: twice the units',
            'version': 'demo-0a1b',
            'served_as': 'version 17',
            'owner': 'radiology group',
            'contact': 'triage@example.org',
            'made': '2026-11-21 22:25',
            'task': 'nih_triage',
            'positive': 'abnormal',
            'negative': 'normal',
            'outputs': ['probability', 'flag'],
            'network': 'scratch_cnn',
            'input': 'one image',
            'code_digest': 'c0de',
            'packages': {'tensorflow': '2.16.2'},
        },
        'intended_use': {
            'statement': 'Research use only.',
            'primary': 'to study',
            'users': 'researchers',
            'population': 'adults',
            'out_of_scope': ['decisions'],
        },
        'data': {
            'records': 600,
            'quarantined': 0,
            'patients': 224,
            'source': '600 images of another source',
            'sites': 'two clinics',
            'splits': {'test': {'images': 69, 'patients': 30, 'positives': 44}},
            'split_rule': 'by patient',
            'labels': 'any finding',
            'label_noise': 'mined from reports',
            'audit': ['Near copies: 6 of 600 images'],
            'groups': {'sex': {'F': 301}},
        },
        'training': {
            'backbone': 'scratch_cnn',
            'started_from': 'random weights',
            'epochs': 20,
            'seed': 0,
            'parameters': {'train': {'epochs': 20}},
        },
        'evaluation': {
            'images': 69,
            'not_assessed': 2,
            'intervals': '90 %, by patient',
            'overall': {'AUC': INTERVAL, 'Sensitivity': INTERVAL, 'Specificity': INTERVAL},
            'subgroups': {
                'sex': {'Sex: female (30 images)': {'auc': INTERVAL, 'sensitivity': UNDEFINED}},
                'age_band': 'not measured',
                'view_position': 'not included',
            },
            'gaps': {
                'gap': {
                    **INTERVAL,
                    'lowest': '00-17: 0.333',
                    'compared': '20 positives or more: 18-39 (40), 40-59 (60)',
                    'left_out': 'fewer than 20 positives: 00-17 (6)',
                }
            },
            'baseline': 'nothing was served',
            'expert_labels': 'experts.csv: 60 images, 31 of them in the test split',
            'label_sources': {
                'AUC by experts': {
                    'images': 31,
                    'reports': INTERVAL,
                    'experts': INTERVAL,
                    'difference': INTERVAL,
                }
            },
        },
        'calibration': {
            'method': 'temperature',
            'temperature': 1.25,
            'offset': 0.5,
            'expected_calibration_error': INTERVAL,
            'calibration_ratio': INTERVAL,
            'brier_score': INTERVAL,
        },
        'operating_point': {
            'threshold': 0.0971,
            'target_sensitivity': 0.95,
            'chosen_on': 'calibration',
            'sensitivity': INTERVAL,
            'specificity': INTERVAL,
            'precision': UNDEFINED,
            'flagged': '61 of 69',
        },
        'shortcuts': {
            'metadata_only_auc': INTERVAL,
            'metadata_and_follow_up_auc': INTERVAL,
            'auc_over_metadata': INTERVAL,
            'within_views': {'View: PA': INTERVAL},
            'image_statistics': ['file size alone: AUC 0.61'],
        },
        'decisions': {
            'data_gate': '0 rules failed',
            'evaluator': ['AUC: pass'],
            'serving_check': 'blessed',
            'pushed': 'pushed',
        },
        'history': {
            'note': 'newest first',
            'versions': {
                '17': {
                    'pushed': '2026-11-21 22:30 UTC',
                    'run': 'the run of 22:25',
                    'changed': 'train.seed: 0 → 1',
                    'auc': INTERVAL,
                    'sensitivity': INTERVAL,
                    'specificity': UNDEFINED,
                }
            },
        },
        'limits': ['one hospital'],
        'licences': ['Apache-2.0'],
    }


def field_paths(content: Any, path: tuple = ()):
    """Yields the paths of all fields; the keys of a mapping with free keys are data."""
    for key, value in content.items():
        yield (*path, key)
        if isinstance(value, dict) and key not in (
            'packages',
            'splits',
            'groups',
            'parameters',
            'overall',
            'subgroups',
            'gaps',
            'within_views',
            'label_sources',
            'versions',
        ):
            yield from field_paths(value, (*path, key))


FIELD_PATHS = list(field_paths(card_parts()))


@pytest.mark.parametrize('path', FIELD_PATHS, ids='.'.join)
def test_a_missing_field_is_named(path):
    content = copy.deepcopy(card_parts())
    *parents, name = path
    section = content
    for parent in parents:
        section = section[parent]
    del section[name]
    with pytest.raises(
        card.CardError,
        match=rf'run of today is not complete[^!]*{".".join(path)}: missing; it comes from ',
    ):
        card.complete('today', content)


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        (('limits',), []),
        (('details', 'name'), ''),
        (('details', 'network'), None),
        (('data', 'label_noise'), ''),
        (('data', 'splits'), {}),
        (('data', 'splits', 'test', 'positives'), 0),
        (('calibration', 'brier_score', 'value'), None),
        (('operating_point', 'sensitivity', 'value'), float('nan')),
        (('operating_point', 'threshold'), 1.5),
        (('evaluation', 'subgroups'), {}),
    ],
    ids=str,
)
def test_an_empty_field_is_named(path, value):
    content = copy.deepcopy(card_parts())
    *parents, name = path
    section = content
    for parent in parents:
        section = section[parent]
    section[name] = value
    with pytest.raises(card.CardError, match='.'.join(path)):
        card.complete('today', content)


def leaves(content: Any):
    """Yields all texts and numbers."""
    if isinstance(content, dict):
        for value in content.values():
            yield from leaves(value)
    elif isinstance(content, list):
        for value in content:
            yield from leaves(value)
    elif content is not None:
        yield content


def test_markdown_contains_all_of_the_json():
    complete = card.complete('today', card_parts())
    text = card_sections.markdown(complete).replace('\\', '')
    for leaf in leaves(json.loads(complete.model_dump_json(exclude={'format'}))):
        forms = (
            {f'{leaf}', f'{leaf:,}', f'{leaf:.4f}', f'{leaf:.3f}'}
            if isinstance(leaf, int | float)
            else {leaf}
        )
        assert any(form in text for form in forms), leaf
    assert 'not defined: no image is negative' in text
    assert 'Images not assessed: 2; the model flags them' in text
    assert text.count('## ') == len(card_sections.TITLES)


def test_markdown_escapes_markup():
    content = card_parts()
    content['details']['name'] = '<img src=x onerror=alert(1)> *x* | y\nz'
    text = card_sections.markdown(card.complete('today', content))
    assert '<img' not in text
    assert r'\*x\* \| y z' in text


def test_every_task_has_texts():
    for name in TASKS:
        text = card_text.task_text(name)
        assert text is not None, f'pages/card_text.py has no texts for {name}'
        assert text.limits and text.labels
    assert card_text.task_text('unknown') is None


def test_a_missing_count_of_images_not_assessed_is_reported():
    content = card_parts()
    content['evaluation']['not_assessed'] = None
    text = card_sections.markdown(card.complete('today', content))
    assert 'Images not assessed: not recorded' in text


def test_every_metric_of_the_card_is_in_the_registry():
    metrics = [
        name
        for part in (
            card.CalibrationPart,
            card.OperatingPointPart,
            card.Shortcuts,
            card.VersionFacts,
        )
        for name in card.metric_fields(part).values()
    ]
    assert len(metrics) == 12 and set(metrics) <= set(registry.METRICS)


def _full_text(text: card_text.DataText) -> str:
    return ' '.join((text.population, text.label_noise, text.licence, *text.limits))


@pytest.mark.parametrize('name', TASKS)
def test_task_texts_make_no_claims_about_data(name):
    """The population, the labels and the licence depend on the data, not on the task."""
    text = ' '.join(
        leaves(
            dataclasses.asdict(card_text.task_text(name))
            | {'limits': list(card_text.task_text(name).limits)}
        )
    )
    for claim in ('NIH', 'Kermany', '112,120', 'mined', 'physicians', 'children', 'exact'):
        assert claim not in text


CLAIMS_BY_ORIGIN = {
    origin.NIH: ('112,120 images', 'mined from radiology reports', 'NIH Clinical Center'),
    origin.CHILDREN: ('one to five years', 'two physicians', 'CC BY 4.0'),
    origin.SYNTHETIC: (
        'no patients',
        '19 of 600 labels are deliberately wrong',
        'made by this program',
    ),
    origin.OTHER: (
        'who the patients are',
        'how their labels were made',
        'there is no record of their terms of use',
    ),
}


@pytest.mark.parametrize('name', CLAIMS_BY_ORIGIN)
def test_data_texts_match_the_origin(name):
    text = _full_text(card_text.data_text({name: 600}, 19))
    for other, claims in CLAIMS_BY_ORIGIN.items():
        for claim in claims:
            assert (claim in text) is (other == name), claim
    assert ('NIH' in text) is (name == origin.NIH)
    assert 'exact' not in text


def test_data_of_two_origins_are_described_separately():
    text = card_text.data_text({origin.SYNTHETIC: 40, origin.OTHER: 1000}, 2)
    assert (
        '40 images: Images drawn by' in text.population
        and '1,000 images: Images of another source' in text.population
    )
    assert '2 of 40 labels' in text.label_noise and 'NIH' not in _full_text(text)


def test_data_of_unknown_origin_are_not_described():
    assert set(dataclasses.astuple(card_text.data_text({}, 0))) == {card_text.NO_ORIGIN, ()}


def test_a_statement_of_the_owner_replaces_what_is_not_on_record():
    stated = card_text.data_text({origin.OTHER: 600}, 0, 'adults of one clinic', 'in-house only')
    assert stated.population == 'As stated by the owner: adults of one clinic'
    assert stated.licence == 'As stated by the owner: in-house only'
    assert stated.limits == ()
    # How the labels were made is still not on record.
    assert stated.label_noise == card_text.data_text({origin.OTHER: 600}, 0).label_noise


def test_a_statement_stays_beside_what_is_known_about_public_data():
    origins = {origin.SYNTHETIC: 40, origin.OTHER: 1000}
    text = card_text.data_text(origins, 2, population='adults').population
    assert text.startswith('As stated by the owner: adults; Images drawn by')
    assert 'no record' not in text


def test_the_source_is_named_with_counts():
    assert card_text.source_text({origin.NIH: 1948}) == '1,948 images of NIH ChestX-ray14'
    assert 'synthetic, not of patients' in card_text.source_text({origin.SYNTHETIC: 600})
    assert card_text.source_text({}) == card_text.NO_ORIGIN


def test_what_nobody_stated_names_its_key():
    assert card_build._statement({'owner': None}, 'owner') == (
        'not stated (configuration key card.owner)'
    )
    assert card_build._statement({'owner': 'radiology'}, 'owner') == 'radiology'
    model, *_ = card_build._licences(card_text.data_text({}, 0), {}, {})
    assert model == 'The model: not stated (configuration key card.licence)'


def test_a_card_without_a_served_version_has_no_table_of_versions():
    content = card_parts()
    content['history'] = {'note': 'none yet', 'versions': {}}
    sections = card_sections.sections(card.complete('today', content))
    (history,) = (section for section in sections if section.key == 'history')
    assert history.facts == [('Versions', 'none yet')] and history.tables == []


def test_the_history_of_a_first_run_that_pushed_nothing_is_empty(builder: RootBuilder):
    run = '2026-11-21T08:00:00.000001'
    builder.step(run, 'Evaluator', outputs={'evaluation': {}})
    builder.record(run, state=NOT_BLESSED, reasons=['auc on all is 0.6'])
    (only,) = runs.all_runs(store_lib.read(builder.root))
    history = card_history.build(only, [])
    assert history['versions'] == {} and 'No run of this root' in history['note']
