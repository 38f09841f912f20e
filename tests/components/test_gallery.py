"""The gallery: which test images it shows, and their pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.evaluator import gallery, gallery_writer
from components.evaluator.gallery import BORDERLINE, CHANGED, FALSE_ALARM, FIRST, MISSED
from components.evaluator.predictions import LABEL, SERVED
from components.serving_check.session_model import SessionModel
from records import tfrecord
from records.example_proto import Example
from records.examples import build, put_bytes, serialize
from schemas import image_status
from schemas.features import AGE_BAND, IMAGE_ID, PATIENT_ID, SEX
from schemas.signatures import EXPLAIN, FLAG, HEAT_MAP, PROBABILITY, STATUS
from tests.support import kept_predictions, tiny_model


def _image(label: int, probability: float, flag: int, **values: Any) -> dict[str, Any]:
    return {LABEL: label, PROBABILITY: probability, FLAG: flag, **values}


def test_each_kind_starts_with_its_most_telling_image(tmp_path: Path) -> None:
    # The operating point is between 0.3 and 0.4.
    kept = kept_predictions.write(
        tmp_path,
        [
            _image(1, 0.2, 0),
            _image(1, 0.1, 0, **{SERVED + FLAG: 1, SERVED + PROBABILITY: 0.6}),
            _image(1, 0.9, 1, **{SERVED + FLAG: 1, SERVED + PROBABILITY: 0.9}),
            _image(0, 0.4, 1),
            _image(0, 0.8, 1),
            _image(0, 0.3, 0, **{SERVED + FLAG: 0, SERVED + PROBABILITY: 0.9}),
        ],
    )
    kinds = {kind: rows.tolist() for kind, rows in gallery.ranked(kept).items()}
    assert kinds[MISSED] == [1, 0]
    assert kinds[FALSE_ALARM] == [4, 3]
    assert kinds[CHANGED] == [4, 1, 3]
    assert kinds[BORDERLINE][:3] in ([3, 5, 0], [5, 3, 0])
    assert sorted(kinds[BORDERLINE]) == list(range(6))


@pytest.mark.parametrize(
    'values',
    [
        # A model flags what it does not assess, with a probability of 1.
        _image(0, 1.0, 1, **{STATUS: image_status.BLANK}),
        _image(0, float('nan'), 1),
        {**_image(0, 0.9, 1), FLAG: None},
        {**_image(0, 0.9, 1), LABEL: None},
    ],
    ids=['not assessed', 'no probability', 'no flag', 'no label'],
)
def test_images_without_an_answer_or_a_label_are_in_no_kind(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    kept = kept_predictions.write(tmp_path, [values, _image(0, 0.6, 1)])
    assert {kind: rows.tolist() for kind, rows in gallery.ranked(kept).items()} == {
        MISSED: [],
        FALSE_ALARM: [1],
        BORDERLINE: [1],
        CHANGED: [],
    }


def test_an_image_that_the_served_model_did_not_assess_has_no_changed_flag(tmp_path: Path) -> None:
    served = {SERVED + FLAG: 1, SERVED + PROBABILITY: 1.0, SERVED + STATUS: image_status.BLANK}
    kept = kept_predictions.write(tmp_path, [_image(0, 0.1, 0, **served)])
    assert gallery.ranked(kept)[CHANGED].tolist() == []


def test_a_rare_group_gets_images_of_its_own(tmp_path: Path) -> None:
    women = [_image(1, 0.1 + number / 10_000, 0) for number in range(1000)]
    men = [_image(1, 0.3, 0, **{SEX: 'M', AGE_BAND: '80+'}), _image(1, 0.31, 0, Hernia=1)]
    kept = kept_predictions.write(tmp_path, [*women, *men])
    shown = gallery.choose(kept)[MISSED]
    assert shown == [*range(FIRST), 1000, 1001]


def test_an_evaluation_of_an_earlier_version_has_no_gallery(tmp_path: Path) -> None:
    assert gallery.read(str(tmp_path)) is None


def test_no_gallery_holds_more_images_than_it_says(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    probability = random.random(5000)
    kept = kept_predictions.write(
        tmp_path,
        [
            _image(int(random.random() < 0.4), value, int(value > 0.4), **{SEX: 'FM'[number % 2]})
            for number, value in enumerate(probability)
        ],
    )
    # Two sexes, one view and one age band, all with the same first images as far as they go.
    for rows in gallery.choose(kept).values():
        assert len(rows) <= FIRST + 4 * gallery.FIRST_IN_GROUP
        assert len(set(rows)) == len(rows)


def _records(path: Path, images: dict[str, bytes]) -> list[str]:
    """A file of raw examples: image id, which is the patient's too -> encoded image."""
    with path.open('wb') as stream:
        for image_id, content in images.items():
            example = Example.FromString(build(content, image_id, {'No Finding': 0}))
            put_bytes(example, PATIENT_ID, image_id.encode())
            stream.write(tfrecord.frame(serialize(example)))
    return [str(path)]


def _row(number: int, **values: Any) -> dict[str, Any]:
    image_id = f'{number:05d}.png'
    return {IMAGE_ID: image_id, PATIENT_ID: image_id, **_image(1, 0.1, 0), **values}


@pytest.mark.slow
def test_pictures_are_of_their_image_and_heat_maps_of_the_model(tmp_path: Path) -> None:
    model = tmp_path / 'model'
    tiny_model.export(model)
    jpegs = tiny_model.images(4)
    names = [f'{number:05d}.png' for number in range(4)]
    files = _records(tmp_path / 'data', dict(zip(names, [*jpegs[:3], b'no image'], strict=True)))
    kept_predictions.write(tmp_path, [_row(number) for number in (0, 1, 2, 3, 9)])
    gallery_writer.write(str(tmp_path), files, str(model))

    shown = gallery.read(str(tmp_path))
    assert shown is not None and shown[gallery.ROW].tolist() == [0, 1, 2, 3, 4]
    assert shown[MISSED].tolist() == [0, 1, 2, 3, 4]
    assert shown[FALSE_ALARM].isna().all()
    expected = SessionModel(str(model)).run(EXPLAIN.name, {EXPLAIN.input: jpegs[:3]})[HEAT_MAP]
    for row, jpeg, heat in zip(shown.to_dict('records'), jpegs, expected, strict=False):
        small, whole = (
            np.asarray(Image.open(io.BytesIO(content)).convert('L').resize((32, 32)), float)
            for content in (row[gallery.THUMBNAIL], jpeg)
        )
        assert np.abs(small - whole).mean() < 4
        assert row[gallery.HEAT_MAP_WIDTH] == 3
        np.testing.assert_allclose(row[HEAT_MAP], heat.ravel(), rtol=1e-6)
    # One that does not decode, and one whose record is missing.
    assert shown[gallery.THUMBNAIL].tolist()[3:] == [None, None]
    assert shown[HEAT_MAP].tolist()[4] is None


@pytest.mark.slow
def test_two_images_with_the_same_id_have_no_picture(tmp_path: Path) -> None:
    tiny_model.export(tmp_path / 'model')
    files = _records(tmp_path / 'data', {'00000.png': tiny_model.images(1)[0]})
    kept_predictions.write(tmp_path, [_row(0), _row(0, **{PROBABILITY: 0.2})])
    gallery_writer.write(str(tmp_path), files, str(tmp_path / 'model'))
    shown = gallery.read(str(tmp_path))
    assert shown is not None and shown[gallery.THUMBNAIL].tolist() == [None, None]


class _WithoutHeatMap(tf.Module):
    """A model with the signature for examples only."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns a probability for each example."""
        return {PROBABILITY: tf.zeros(tf.shape(examples))}


def test_a_model_without_heat_maps_has_thumbnails(tmp_path: Path) -> None:
    module = _WithoutHeatMap()
    tf.saved_model.save(
        module, str(tmp_path / 'model'), signatures={'serving_default': module.serve}
    )
    files = _records(tmp_path / 'data', {'00000.png': tiny_model.images(1)[0]})
    kept_predictions.write(tmp_path, [_row(0)])
    gallery_writer.write(str(tmp_path), files, str(tmp_path / 'model'))
    shown = gallery.read(str(tmp_path))
    assert shown is not None and shown[gallery.THUMBNAIL][0].startswith(b'\xff\xd8')
    assert shown[HEAT_MAP].tolist() == [None]
