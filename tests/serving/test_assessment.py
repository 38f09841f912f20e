"""The gate before the model: its rules, and the kinds of images that it refuses."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from experiments import assessment, assessment_images
from records import synth
from schemas import image_status, not_assessed
from serving.assessment import descriptors, gate, reason
from tests.support import bad_images, gateways

_CHEST = Image.fromarray(synth.phantom(patient=3, size=320))
_FINDINGS = ('Cardiomegaly', 'Effusion', 'Pneumothorax', 'Mass', 'Atelectasis')


def _reason(image: Image.Image) -> str:
    return reason(assessment_images.png(image))


@pytest.mark.parametrize('finding', ['', *_FINDINGS])
@pytest.mark.parametrize('view', ['PA', 'AP'])
def test_a_chest_is_accepted(finding: str, view: str) -> None:
    findings = [finding] if finding else []
    image = synth.phantom(findings, patient=8, view=view, size=256)
    assert _reason(Image.fromarray(image)) == ''
    assert _reason(Image.fromarray(image).resize((300, 256))) == ''
    # A decoder leaves out details of a large JPEG.
    large = Image.fromarray(image).resize((1024, 1200))
    assert reason(assessment_images.jpeg(large)) == ''


def test_a_mirrored_chest_with_a_coloured_marker_is_accepted() -> None:
    image = _CHEST.transpose(Image.Transpose.FLIP_LEFT_RIGHT).convert('RGB')
    ImageDraw.Draw(image).rectangle((5, 5, 40, 25), fill=(255, 0, 0))
    assert _reason(image) == ''


@pytest.mark.parametrize(
    ('image', 'expected'),
    [
        (_CHEST.resize((127, 300)), image_status.TOO_SMALL),
        (_CHEST.resize((128, 300)), ''),
        (Image.new('L', (200, 200), 120), image_status.BLANK),
        (assessment_images.darkened(0.15)(_CHEST, np.random.default_rng()), not_assessed.TOO_DARK),
        (
            assessment_images.brightened(0.1)(_CHEST, np.random.default_rng()),
            not_assessed.TOO_BRIGHT,
        ),
        (
            Image.merge('RGB', (_CHEST, _CHEST.point(lambda v: v // 2), _CHEST)),
            not_assessed.NOT_CHEST,
        ),
    ],
    ids=['narrow', 'just wide enough', 'blank', 'dark', 'bright', 'purple'],
)
def test_simple_rules(image: Image.Image, expected: str) -> None:
    assert _reason(image) == expected


@pytest.mark.parametrize('kind', sorted(assessment_images.CHANGES))
def test_a_changed_chest_is_refused_with_its_reason(kind: str) -> None:
    change = assessment_images.CHANGES[kind]
    reasons = [
        _reason(change(Image.fromarray(synth.phantom(patient=patient, size=128)), _random(patient)))
        for patient in range(1, 21)
    ]
    # Crops at the top and bottom are hard to tell from a tight frame.
    expected = 5 if kind in ('only_top', 'only_bottom', 'only_centre') else 16
    assert reasons.count(assessment.REASONS[kind]) >= expected


@pytest.mark.parametrize('kind', sorted(assessment_images.DRAWN))
def test_another_image_is_refused(kind: str) -> None:
    draw = assessment_images.DRAWN[kind]
    # Seeds that the weights were not fitted on.
    reasons = [_reason(draw(_random(seed))) for seed in range(1000, 1020)]
    assert reasons.count('') <= 3
    assert not_assessed.NOT_CHEST in reasons


def test_brightness_and_contrast_do_not_change_the_descriptors() -> None:
    grey = np.asarray(_CHEST.resize((64, 64)), dtype=np.float32)
    expected = descriptors.describe(grey)
    assert expected.shape == (descriptors.LENGTH,)
    np.testing.assert_allclose(descriptors.describe(grey * 0.5 + 20), expected, atol=1e-3)


@pytest.mark.parametrize(
    'content',
    [
        *(content for content, _ in (bad_images.BY_HEADER | bad_images.BY_DECODING).values()),
        *bad_images.UNSUPPORTED.values(),
    ],
    ids=[*bad_images.BY_HEADER, *bad_images.BY_DECODING, *bad_images.UNSUPPORTED],
)
def test_what_the_model_cannot_read_is_left_to_it(content: bytes) -> None:
    assert reason(content) == ''


def test_the_page_has_a_sentence_for_every_reason(tmp_path: Path) -> None:
    named = {name: value for name, value in vars(not_assessed).items() if name.isupper()}
    reasons = {value for value in named.values() if isinstance(value, str)}
    reasons |= set(image_status.PROBLEMS)
    assert {kind.reason for kind in gate.kinds().values()} <= reasons
    with gateways.running(tmp_path, f'sqlite:///{tmp_path}/gateway.sqlite', tmp_path) as gateway:
        page = gateway.get('/studies/0').text
    shown = re.search('data-reasons="([^"]*)"', page)
    assert shown
    sentences = json.loads(html.unescape(shown.group(1)))
    assert sentences.keys() == reasons
    assert all(sentence.endswith('.') for sentence in sentences.values())


def test_the_weights_are_of_the_fitted_kinds() -> None:
    kinds = gate.kinds()
    assert {name: kind.reason for name, kind in kinds.items()} == assessment.REASONS
    assert {kind.weights.shape for kind in kinds.values()} == {(descriptors.LENGTH,)}


@pytest.mark.real_data
def test_an_inverted_file_and_half_a_chest_of_the_real_images_are_refused(real_data: Path) -> None:
    flawed = [image for image in assessment_images.nih(real_data / 'nih') if image.flaw]
    assert len(flawed) == 3
    for image in flawed:
        assert reason(image.content) == assessment.REASONS[image.flaw]


@pytest.mark.real_data
def test_real_images_on_which_it_was_not_fitted(real_data: Path) -> None:
    images = [
        image
        for _, image in zip(range(300), assessment_images.nih(real_data / 'nih'), strict=False)
        if image.is_held_out and not image.flaw
    ] + [
        image
        for number, image in enumerate(assessment_images.pediatric(real_data / 'pediatric'))
        if number % 20 == 0 and image.is_held_out
    ]
    assert len(images) > 200
    refused = [image for image in images if reason(image.content)]
    assert len(refused) / len(images) <= 0.01


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
