"""Splits have the configured fractions, keep patients together, and follow the official lists."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from components.xray_example_gen.parameters import DataParameters, SplitParameters
from components.xray_example_gen.splits import OfficialLists, Splitter
from records.metadata import Entry, MetadataError
from schemas.features import SPLITS

FRACTIONS = {'train': 0.65, 'val': 0.1, 'calibration': 0.1, 'test': 0.15}
PATIENTS = [f'{number:08d}' for number in range(10_000)]


@pytest.mark.parametrize('seed', [0, 1, 17])
def test_shares_are_near_the_fractions(seed: int) -> None:
    counts = Counter(Splitter(FRACTIONS, seed).assign(patient, None) for patient in PATIENTS)
    for split in SPLITS:
        # Four standard deviations of a share.
        assert counts[split] / 10_000 == pytest.approx(
            FRACTIONS[split], abs=4 * (FRACTIONS[split] / 10_000) ** 0.5
        )


def test_all_images_of_a_patient_get_the_same_split() -> None:
    splitter = Splitter(FRACTIONS)
    for patient in PATIENTS[:200]:
        assert len({splitter.assign(patient, image) for image in (None, 'a.png', 'b.png')}) == 1


def test_seeds_are_independent() -> None:
    first, second = Splitter(FRACTIONS, 0), Splitter(FRACTIONS, 1)
    same = (
        sum(first.assign(patient, None) == second.assign(patient, None) for patient in PATIENTS)
        / 10_000
    )
    assert same == pytest.approx(sum(share**2 for share in FRACTIONS.values()), abs=0.02)


def test_a_larger_train_fraction_keeps_all_patients_in_train() -> None:
    more_train = {'train': 0.75, 'val': 0.1, 'calibration': 0.1, 'test': 0.05}
    small, large = (
        {patient for patient in PATIENTS if Splitter(fractions).assign(patient, None) == 'train'}
        for fractions in (FRACTIONS, more_train)
    )
    assert small < large


def test_official_lists_fix_test_and_the_fractions_divide_the_rest() -> None:
    images = {patient: f'{patient}_000.png' for patient in PATIENTS}
    lists = OfficialLists(
        frozenset(images[patient] for patient in PATIENTS[2_000:]),
        frozenset(images[patient] for patient in PATIENTS[:2_000]),
    )
    counts = Counter(
        Splitter(FRACTIONS, 0, lists).assign(patient, image) for patient, image in images.items()
    )
    assert counts['test'] == 2_000
    for split in ('train', 'val', 'calibration'):
        assert counts[split] / 8_000 == pytest.approx(FRACTIONS[split] / 0.85, abs=0.02)


@pytest.mark.parametrize('image', [None, 'unknown.png'])
def test_an_image_in_neither_list_has_no_split(image: str | None) -> None:
    assert (
        Splitter(FRACTIONS, 0, OfficialLists(frozenset({'a.png'}), frozenset({'b.png'}))).assign(
            'x', image
        )
        is None
    )


@pytest.mark.parametrize(
    ('train_val', 'test', 'table', 'name'),
    [
        pytest.param(
            {'00000001_000.png'}, {'00000001_000.png'}, None, '00000001', id='an image in both'
        ),
        pytest.param(
            {'00000001_000.png'},
            {'00000001_001.png'},
            None,
            '00000001',
            id='a patient in both, by name',
        ),
        pytest.param(
            {'a.png'},
            {'b.png'},
            {'a.png': Entry('P7'), 'b.png': Entry('P7')},
            'P7',
            id='a patient in both, by table',
        ),
        pytest.param(
            {'a.png'}, {'a.png'}, None, 'a.png', id='an image with another form of id in both'
        ),
    ],
)
def test_official_lists_that_overlap_are_refused(
    train_val: set, test: set, table: dict | None, name: str
) -> None:
    with pytest.raises(
        MetadataError,
        match=f'1 patients are in both the train_val list and the test list, e.g. {name}',
    ):
        OfficialLists(frozenset(train_val), frozenset(test)).check(table)


def test_the_lists_of_the_release_are_disjoint(real_data) -> None:
    from records.metadata import read_list

    folder = real_data / 'nih' / 'metadata'
    lists = OfficialLists(
        read_list(str(folder / 'train_val_list.txt.gz')),
        read_list(str(folder / 'test_list.txt.gz')),
    )
    lists.check(None)
    assert (len(lists.train_val), len(lists.test)) == (86_524, 25_596)


@pytest.mark.parametrize(
    ('fractions', 'message'),
    [
        ({**FRACTIONS, 'test': 0.2}, 'sum to 1, found a sum of 1.05'),
        ({**FRACTIONS, 'train': 0.8, 'test': 0}, 'above 0'),
        ({**FRACTIONS, 'train': 0.95, 'test': -0.15}, 'above 0'),
        ({**FRACTIONS, 'train': float('nan')}, 'finite'),
        (
            {'train': 0.5, 'test': 0.5},
            'expected exactly the splits train, val, calibration, test, found train, test',
        ),
        ({**FRACTIONS, 'holdout': 0}, 'found train, val, calibration, test, holdout'),
    ],
    ids=['sum', 'zero', 'negative', 'NaN', 'too few', 'too many'],
)
def test_invalid_fractions_are_refused(fractions: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitParameters(fractions=fractions)


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'min_side': 100, 'max_side': 99}, 'min_side 100 is above max_side 99'),
        ({'patient_id_pattern': '('}, 'not a regular expression'),
        ({'patient_id_pattern': r'\d+'}, 'expected one group, which matches the patient, found 0'),
        ({'spans': 'newest'}, 'all'),
        ({'max_quarantine_share': 1.5}, 'less than or equal to 1'),
    ],
    ids=['sides', 'not an expression', 'no group', 'spans', 'share'],
)
def test_invalid_parameters_are_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataParameters(**parameters)
