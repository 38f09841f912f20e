"""Phantoms: reproducible, of the right form, and with the sign of each finding in its place."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from records.synth import canvas, encode_jpeg, phantom, rendering, signs, thorax
from records.synth.anatomy import LEFT, RIGHT, draw_anatomy, draw_pose, geometry
from records.synth.contact_sheet import contact_sheet
from schemas.labels import FINDINGS

_PATIENTS = range(1, 7)


def _chests(finding: str | None, view: str = 'PA'):
    """Yields the chests of some patients, with the finding or without."""
    for patient in _PATIENTS:
        measures = geometry(
            draw_anatomy(np.random.default_rng(patient), 50, 'M'),
            draw_pose(np.random.default_rng([patient, 1]), view),
        )
        rng = np.random.default_rng([patient, 2])
        overlay = signs.SIGNS[finding](measures, rng) if finding else None
        chest = thorax.build(
            measures,
            canvas.Frame(256),
            np.random.default_rng([patient, 3]),
            np.random.default_rng([patient, 4]),
        )
        if overlay:
            overlay(chest, rng)
        yield chest


def _heart_share(chest) -> float:
    """The cardiothoracic ratio at the widest level of the heart, measured between the lungs."""
    widest = 0.0
    for row in range(chest.x.shape[0]):
        if not 0.05 < chest.y[row, 128 // 2] < 0.30:
            continue
        inner = [np.abs(chest.x[row][chest.lung[side][row] > 0.45]) for side in (RIGHT, LEFT)]
        outer = [np.abs(chest.x[row][chest.wall[side][row] > 0]) for side in (RIGHT, LEFT)]
        if all(len(part) for part in inner):
            widest = max(
                widest, float(sum(part.min() for part in inner) / sum(part.max() for part in outer))
            )
    return widest


def _air(chest) -> float:
    return float(chest.lungs().mean())


def _opacity_share(chest) -> float:
    """The attenuation that findings add, relative to the air of the lungs."""
    return float(np.clip(chest.opacity, 0, None).sum() / chest.lungs().sum())


def _vessel_share(chest) -> float:
    """The share of the lungs that shows vessels."""
    lungs = chest.lungs()
    return float((lungs * chest.airways).sum() / lungs.sum())


def _dome(chest) -> float:
    return chest.geometry.dome[RIGHT] + chest.geometry.dome[LEFT]


@pytest.mark.parametrize(
    ('finding', 'measure', 'sign'),
    [
        pytest.param('Cardiomegaly', _heart_share, 1, id='the heart is wide'),
        pytest.param('Effusion', _air, -1, id='fluid replaces lung'),
        pytest.param('Pneumothorax', _vessel_share, -1, id='no vessels in the free air'),
        pytest.param('Mass', _opacity_share, 1, id='a mass is dense'),
        pytest.param('Nodule', _opacity_share, 1, id='a nodule is dense'),
        pytest.param('Atelectasis', _dome, -1, id='lost volume lifts the diaphragm'),
        pytest.param('Consolidation', _vessel_share, -1, id='consolidation hides vessels'),
        pytest.param('Pneumonia', _opacity_share, 1, id='pneumonia clouds'),
        pytest.param('Infiltration', _opacity_share, 1, id='infiltration clouds'),
        pytest.param('Edema', _opacity_share, 1, id='edema clouds'),
        pytest.param('Emphysema', _dome, 1, id='emphysema lowers the diaphragm'),
        pytest.param('Fibrosis', _opacity_share, 1, id='fibrosis clouds'),
        pytest.param('Pleural_Thickening', _air, -1, id='thick pleura replaces lung'),
        pytest.param('Hernia', _air, -1, id='the hernia covers lung'),
    ],
)
def test_each_finding_has_its_sign(finding, measure, sign) -> None:
    normal = [measure(chest) for chest in _chests(None)]
    ill = [measure(chest) for chest in _chests(finding)]
    assert all((after - before) * sign > 0 for before, after in zip(normal, ill, strict=True)), (
        normal,
        ill,
    )


def test_cardiothoracic_ratio_separates_normal_from_cardiomegaly() -> None:
    assert max(_heart_share(chest) for chest in _chests(None)) < min(
        _heart_share(chest) for chest in _chests('Cardiomegaly')
    )


def test_edema_is_on_both_sides_and_a_mass_on_one() -> None:
    for chest in _chests('Edema'):
        sides = [float((chest.opacity * chest.lung[side]).sum()) for side in (RIGHT, LEFT)]
        assert min(sides) > 0.5 * max(sides)
    for chest in _chests('Mass'):
        sides = [float((chest.opacity * (chest.lateral(side) > 0)).sum()) for side in (RIGHT, LEFT)]
        assert min(sides) < 0.1 * max(sides)


def test_a_mass_is_larger_than_a_nodule() -> None:
    def spread(finding):
        return [float((chest.opacity > 0.1).sum()) for chest in _chests(finding)]

    assert np.median(spread('Mass')) > 3 * np.median(spread('Nodule'))


def test_the_right_diaphragm_is_higher_and_ap_magnifies_the_heart() -> None:
    for posterior, anterior in zip(_chests(None, 'PA'), _chests(None, 'AP'), strict=True):
        assert posterior.geometry.dome[RIGHT] <= posterior.geometry.dome[LEFT]
        assert anterior.geometry.heart > posterior.geometry.heart


@pytest.mark.parametrize('finding', [None, *FINDINGS])
def test_an_image_uses_the_grey_scale(finding) -> None:
    image = phantom([finding] if finding else (), patient=5, size=200)
    assert image.dtype == np.uint8
    assert image.shape == (200, 200)
    assert 60 < image.mean() < 190
    assert image.std() > 30


def test_lungs_are_dark_and_the_mediastinum_is_bright() -> None:
    for patient in _PATIENTS:
        image = phantom(patient=patient, sex='M', size=300).astype(float)
        lungs = np.concatenate([image[110:150, 75:105].ravel(), image[110:150, 200:225].ravel()])
        assert lungs.mean() < image[150:200, 145:160].mean() - 40
        assert lungs.mean() < image[250:280, 100:200].mean() - 40


@pytest.mark.parametrize(('finding', 'stays'), [('Mass', True), ('Effusion', False)])
def test_lasting_findings_look_the_same_in_the_next_study(finding, stays) -> None:
    studies = [rendering.Study(7, number, 50, 'F', 'PA', (finding,)) for number in (0, 1)]
    first, second = (rendering._sign_stream(finding, study, 0).random() for study in studies)
    assert (first == second) == stays


def test_a_patient_keeps_the_anatomy_and_a_seed_the_bytes() -> None:
    first, again = phantom(patient=3, size=128), phantom(patient=3, size=128)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, phantom(patient=3, study=1, size=128))
    assert not np.array_equal(first, phantom(patient=3, seed=1, size=128))


def test_the_order_of_findings_does_not_matter() -> None:
    assert np.array_equal(
        phantom(['Mass', 'Effusion'], size=128), phantom(('Effusion', 'Mass'), size=128)
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        pytest.param({'findings': ['Gout']}, "unknown finding 'Gout'", id='finding'),
        pytest.param({'sex': 'X'}, 'expected F or M', id='sex'),
        pytest.param({'view': 'LL'}, 'expected PA or AP', id='view'),
        pytest.param({'size': 10}, 'at least 64', id='size'),
    ],
)
def test_wrong_arguments_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        phantom(**arguments)


def test_an_odd_size_is_drawn() -> None:
    assert phantom(size=101).shape == (101, 101)


def test_jpeg_has_the_form_of_the_real_records() -> None:
    image = phantom(size=600)
    data = encode_jpeg(image)
    decoded = Image.open(io.BytesIO(data))
    assert (decoded.format, decoded.mode, decoded.size) == ('JPEG', 'L', (600, 600))
    assert decoded.quantization[0][:4] == [2, 1, 1, 2]  # the real records' table
    # The 1st percentile of the real records is 47 kB, the 99th is 92 kB.
    assert 40_000 < len(data) < 110_000
    assert np.abs(np.asarray(decoded).astype(int) - image).mean() < 2


@pytest.mark.parametrize(
    'image', [np.zeros((8, 8), np.float32), np.zeros((8, 8, 3), np.uint8)], ids=['float', 'colour']
)
def test_jpeg_refuses_other_images(image) -> None:
    with pytest.raises(ValueError, match='expected uint8'):
        encode_jpeg(image)


def test_contact_sheet(tmp_path) -> None:
    path = tmp_path / 'new' / 'sheet.png'
    image = np.full((64, 64), 200, np.uint8)
    contact_sheet(path, [('one', [image]), ('two', [image, image])], cell=40)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 60, 80)
    assert (sheet[80:110, 50:70] == 200).all()
    with pytest.raises(ValueError, match='at least one image'):
        contact_sheet(path, [])
