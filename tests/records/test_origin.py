"""Images belong to a known data set only if their ids and tables say so."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from records import origin
from records.metadata import Entry, MetadataError

NIH_ENTRY = Entry('00000013')


@pytest.mark.parametrize(
    ('image_id', 'entry', 'expected'),
    [
        pytest.param('00000013_005.png', NIH_ENTRY, origin.NIH, id='NIH'),
        pytest.param(
            '00000013_005.png', None, origin.OTHER, id='the form of NIH, not in the table'
        ),
        pytest.param(
            '00000013_005.png', Entry('00000014'), origin.OTHER, id='the table has another patient'
        ),
        pytest.param(
            '00030806_000.png', Entry('00030806'), origin.OTHER, id='more patients than NIH has'
        ),
        pytest.param(
            '00000001_000.png', Entry('00000001'), origin.SYNTHETIC, id='drawn, in the form of NIH'
        ),
        pytest.param(
            'person1_bacteria_2.png', Entry('person1'), origin.CHILDREN_ILL, id='children, ill'
        ),
        pytest.param(
            'IM-0115-0001.png', Entry('IM-0115'), origin.CHILDREN_NORMAL, id='children, normal'
        ),
        pytest.param(
            'NORMAL-NORMAL2-IM-0285-0001.png',
            None,
            origin.CHILDREN_NORMAL,
            id='children, with folders',
        ),
        pytest.param('scan-7.png', Entry('7'), origin.OTHER, id='own'),
        pytest.param(None, None, origin.OTHER, id='without an id'),
    ],
)
def test_origin_of_an_image(image_id: str | None, entry: Entry | None, expected: str) -> None:
    assert origin.of_image(image_id, entry, {'00000001_000.png': False}) == expected


@pytest.mark.parametrize(
    ('counts', 'expected'),
    [
        ({origin.NIH: 5}, {origin.NIH: 5}),
        ({origin.CHILDREN_ILL: 2, origin.CHILDREN_NORMAL: 3}, {origin.CHILDREN: 5}),
        # Names that a DICOM viewer gives as well.
        ({origin.CHILDREN_NORMAL: 3, origin.OTHER: 1}, {origin.OTHER: 4}),
        ({origin.SYNTHETIC: 1, origin.OTHER: 2}, {origin.SYNTHETIC: 1, origin.OTHER: 2}),
        ({}, {}),
    ],
    ids=str,
)
def test_origins_of_a_set(counts: dict[str, int], expected: dict[str, int]) -> None:
    assert origin.summarise(counts) == expected


def test_truth_is_looked_for_above_the_records_and_beside_the_table() -> None:
    assert list(
        origin.truth_places('/root', 'span-2/data/000-9.tfrec', '/elsewhere/table.csv')
    ) == [
        f'/root/span-2/data/metadata/{origin.TRUTH_NAME}',
        f'/root/span-2/metadata/{origin.TRUTH_NAME}',
        f'/root/metadata/{origin.TRUTH_NAME}',
        f'/elsewhere/{origin.TRUTH_NAME}',
    ]


def test_truth_shows_which_labels_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / origin.TRUTH_NAME
    path.write_bytes(
        gzip.compress(
            b'Image Index,Drawn,Labelled\na.png,Mass|Edema,Edema|Mass\nb.png,No Finding,Mass\n'
        )
    )
    assert origin.read_truth(str(path)) == {'a.png': False, 'b.png': True}


@pytest.mark.parametrize(
    'content',
    [b'', b'text', gzip.compress(b'Image,Drawn\na,b\n'), gzip.compress(b'a' * 100)[:20]],
    ids=len,
)
def test_another_file_under_that_name_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / origin.TRUTH_NAME
    path.write_bytes(content)
    with pytest.raises(MetadataError, match=rf'{origin.TRUTH_NAME}: not the table of drawn images'):
        origin.read_truth(str(path))
