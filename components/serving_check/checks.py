"""What a model must do before it may be served: each check gives the reasons why it does not, or
none.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from components.serving_check import bad_images, warmup
from components.serving_check.parameters import ServingCheckParameters
from components.serving_check.samples import Sample, Samples, image_only
from components.serving_check.session_model import BrokenPromiseError, Scores, SessionModel
from schemas import image_status, signatures

_UNTIMED_REQUESTS = 3
_MESSAGE_LENGTH = 300
# Of the sample films. The data may hold some that no model can assess, a blank one say, and a check
# of the rest is still worth something.
_LEAST_ASSESSED_SHARE = 0.5
# Answers that lie within this are the same answer.
_SAME_ANSWER = 1e-6
_NO_IMAGES = 'no images'


@dataclass(frozen=True)
class Case:
    """A loaded model, where it was loaded from, the trainer's answers, and the limits."""

    model: SessionModel
    model_dir: str
    samples: Samples
    parameters: ServingCheckParameters

    @functools.cached_property
    def statuses(self) -> dict[str, str]:
        """What the model says about each sample film: image id -> name from
        `schemas.image_status`.
        """
        scores = self.model.score(signatures.IMAGES, [item.image for item in self.samples.items])
        return {
            item.image_id: _text(name)
            for item, name in zip(self.samples.items, scores.status, strict=True)
        }

    @property
    def not_assessed(self) -> dict[str, str]:
        """The statuses other than `ok`."""
        return {
            image_id: name for image_id, name in self.statuses.items() if name != image_status.OK
        }

    @property
    def items(self) -> list[Sample]:
        """The samples that the model assesses: the others have no answer that could be compared."""
        return [item for item in self.samples.items if item.image_id not in self.not_assessed]

    @property
    def ids(self) -> list[str]:
        """Their image ids."""
        return [item.image_id for item in self.items]

    @property
    def examples(self) -> list[bytes]:
        """They as serialized tf.Example."""
        return [item.example for item in self.items]

    @property
    def images(self) -> list[bytes]:
        """Their encoded images."""
        return [item.image for item in self.items]


@dataclass(frozen=True)
class Check:
    """`name` for people; `run` gives the reasons to refuse; after a `vital` one that fails no other
    makes sense.
    """

    name: str
    run: Callable[[Case], list[str]]
    vital: bool = False


def has_promised_signatures(case: Case) -> list[str]:
    """Every promised signature is there, with the promised inputs, outputs, dtypes and shapes."""
    return [
        problem
        for signature in signatures.ALL_SIGNATURES
        for problem in case.model.broken_promises(signature)
    ]


def films_assessed(case: Case) -> list[str]:
    """The film of the warm-up file and at least half of the sample films are assessed."""
    (name,) = case.model.score(signatures.IMAGES, [warmup.film()]).status
    reasons = (
        []
        if _text(name) == image_status.OK
        else [f'a good film, that of the warm-up file, gets status {_text(name)!r}']
    )
    if len(case.items) < _LEAST_ASSESSED_SHARE * len(case.samples.items):
        image_id, status = next(iter(case.not_assessed.items()))
        reasons.append(
            f'{len(case.not_assessed)} of {len(case.statuses)} sample films are not assessed, '
            f'e.g. {image_id}: {status}'
        )
    return reasons


def answers_differ(case: Case) -> list[str]:
    """Not all films get the same answer: such a model tells nothing, and can still pass a threshold
    on sensitivity or on specificity.
    """
    answers = case.model.score(signatures.IMAGES, [warmup.film(), *case.images]).probability
    if np.ptp(answers) <= _SAME_ANSWER:
        return [
            f'the model gives the same answer, {answers[0]:.6f}, for {len(answers)} different films'
        ]
    return []


def trainer_parity(case: Case) -> list[str]:
    """Serialized examples get the trainer's probabilities and flags; probabilities are finite, in
    0..1 and on the flag's side.
    """
    scores = case.model.score(signatures.EXAMPLES, case.examples)
    reasons = _sound(case, scores)
    expected = Scores(
        np.array([item.probability for item in case.items]),
        np.array([item.flag for item in case.items], np.float32),
        scores.status,
        scores.model_version,
    )
    return reasons or _unlike(case, 'the trainer', expected, 'the served model', scores)


def batch_parity(case: Case) -> list[str]:
    """An image gets the same answer alone and among others."""
    reasons = []
    for signature, values in (
        (signatures.EXAMPLES, case.examples),
        (signatures.IMAGES, case.images),
    ):
        together = case.model.score(signature, values)
        alone = _joined([case.model.score(signature, [value]) for value in values])
        reasons += _unlike(case, f'{signature.name} in one batch', together, 'one by one', alone)
    return reasons


def image_parity(case: Case) -> list[str]:
    """The same answer for an example, for an example with nothing but the image, for the image's
    bytes, and for its pixels as PNG.
    """
    reference = case.model.score(signatures.EXAMPLES, case.examples)
    lean = case.model.score(signatures.EXAMPLES, [image_only(image) for image in case.images])
    raw = case.model.score(signatures.IMAGES, case.images)
    png = case.model.score(signatures.IMAGES, _as_png(case.images))
    return [
        *_unlike(case, 'the whole example', reference, 'an example with the image alone', lean),
        *_unlike(case, signatures.EXAMPLES.name, reference, signatures.IMAGES.name, raw),
        *_unlike(case, 'the image as it came', raw, 'its pixels as PNG', png),
    ]


def images_not_assessed(case: Case) -> list[str]:
    """Each image that cannot be assessed gets its status and an answer that sends it to a reader;
    its neighbours' answers do not change.
    """
    bad, reasons = bad_images.examples(warmup.film()), []
    for signature in signatures.SIGNATURES:
        values = [case.images[0], *(image for image, _ in bad.values()), case.images[-1]]
        if signature is signatures.EXAMPLES:
            values = [image_only(value) for value in values]
        scores = case.model.score(signature, values)
        for (what, (_, expected)), status, *answer in zip(
            bad.items(),
            scores.status[1:-1],
            scores.probability[1:-1],
            scores.flag[1:-1],
            strict=True,
        ):
            if _text(status) != expected:
                reasons.append(
                    f'{signature.name}: {what} gets status {_text(status)!r}: expected {expected!r}'
                )
            elif answer != [signatures.NOT_ASSESSED, signatures.NOT_ASSESSED]:
                reasons.append(
                    f'{signature.name}: {what} gets probability {answer[0]:g} and flag '
                    f'{answer[1]:g}: expected {signatures.NOT_ASSESSED:g}'
                )
        alone = _joined([case.model.score(signature, [value]) for value in (values[0], values[-1])])
        neighbours = scores.part(slice(None, None, len(values) - 1))
        reasons += _unlike(
            case,
            f'{signature.name} alone',
            alone,
            'beside images that cannot be assessed',
            neighbours,
        )
    return reasons


def empty_batch(case: Case) -> list[str]:
    """A request without images is refused with a reason."""
    reasons = []
    for signature in signatures.ALL_SIGNATURES:
        try:
            case.model.run(signature.name, {signature.input: []})
        except tf.errors.InvalidArgumentError as error:
            if _NO_IMAGES not in error.message:
                reasons.append(
                    f'{signature.name}: a request without images gets {_status(error)}: expected '
                    f'a text with {_NO_IMAGES!r}'
                )
        else:
            reasons.append(
                f'{signature.name}: a request without images is answered: expected INVALID_ARGUMENT'
            )
    return reasons


def explanations(case: Case) -> list[str]:
    """The heat map comes with the probability that the image has elsewhere, and is a finite number
    for each part of the image.
    """
    expected = case.model.score(signatures.IMAGES, case.images)
    answers = case.model.run(signatures.EXPLAIN.name, {signatures.EXPLAIN.input: case.images})
    maps = answers[signatures.HEAT_MAP]
    if maps.ndim != 3 or len(maps) != len(case.images) or not np.isfinite(maps).all():
        return [
            f'{signatures.EXPLAIN.name}: {signatures.HEAT_MAP} of shape {list(maps.shape)} is not '
            'finite numbers [batch, height, width]'
        ]
    explained = Scores(**{name: answers[name] for name in signatures.SCORES})
    return _unlike(case, signatures.IMAGES.name, expected, signatures.EXPLAIN.name, explained)


def warmup_replay(case: Case) -> list[str]:
    """Each request of the warm-up file runs: TF Serving does not serve a version whose warm-up
    fails.
    """
    reasons, count = [], 0
    for number, (signature, inputs) in enumerate(warmup.read(case.model_dir)):
        count += 1
        try:
            case.model.run(signature, inputs)
        except (tf.errors.OpError, KeyError, ValueError) as error:
            reasons.append(f'warm-up request {number} ({signature}) fails: {_status(error)}')
    if not 0 < count <= warmup.MOST_REQUESTS:
        reasons.append(
            f'the warm-up file holds {count} requests: expected 1 to {warmup.MOST_REQUESTS}'
        )
    return reasons


ALL: tuple[Check, ...] = (
    Check('signatures as promised', has_promised_signatures, vital=True),
    Check('films are assessed', films_assessed, vital=True),
    Check('answers differ between films', answers_differ),
    Check("answers equal the trainer's", trainer_parity),
    Check('batch of one equals batch of many', batch_parity),
    Check('image bytes, lean example and PNG equal the example', image_parity),
    Check('images that cannot be assessed get a status, and no others', images_not_assessed),
    Check('a request without images is refused', empty_batch),
    Check('heat maps are of the same answers', explanations),
    Check('warm-up requests run', warmup_replay),
)


def run(check: Check, case: Case) -> list[str]:
    """The reasons of one check; what the model raises becomes a reason."""
    try:
        return check.run(case)
    except (tf.errors.OpError, BrokenPromiseError, KeyError, ValueError) as error:
        return [_status(error)]


def latency(case: Case) -> dict[str, float]:
    """Milliseconds of a request with one image (p50, p95, p99), images per second in batches;
    session alone, no network.
    """
    parameters, images = case.parameters, case.images
    if not parameters.latency_requests:
        return {}
    for number in range(_UNTIMED_REQUESTS):
        case.model.score(signatures.IMAGES, [images[number % len(images)]])
    times = [
        _seconds(case, [images[number % len(images)]])
        for number in range(parameters.latency_requests)
    ]
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(times, (50, 95, 99)))
    batch = [images[number % len(images)] for number in range(parameters.throughput_batch)]
    total = sum(_seconds(case, batch) for _ in range(parameters.throughput_requests))
    return {
        'requests': parameters.latency_requests,
        'p50_ms': round(p50, 3),
        'p95_ms': round(p95, 3),
        'p99_ms': round(p99, 3),
        'throughput_batch': len(batch),
        'throughput_images_per_s': round(len(batch) * parameters.throughput_requests / total, 2),
    }


def _seconds(case: Case, images: Sequence[bytes]) -> float:
    start = time.perf_counter()
    case.model.score(signatures.IMAGES, images)
    return time.perf_counter() - start


def _sound(case: Case, scores: Scores) -> list[str]:
    reasons = []
    for kind, wrong in (
        ('not finite', ~np.isfinite(scores.probability)),
        (
            'outside 0..1',
            np.isfinite(scores.probability) & ((scores.probability < 0) | (scores.probability > 1)),
        ),
    ):
        if wrong.any():
            reasons.append(
                f'{int(wrong.sum())} of {len(wrong)} probabilities are {kind}, e.g. '
                f'{_first(case, wrong, scores.probability)}'
            )
    wrong = ~np.isin(scores.flag, (0.0, 1.0))
    if wrong.any():
        reasons.append(
            f'{int(wrong.sum())} of {len(wrong)} flags are neither 0 nor 1, e.g. '
            f'{_first(case, wrong, scores.flag)}'
        )
    threshold = case.samples.threshold
    if threshold is not None and not reasons:
        wrong = ((scores.probability >= threshold) != (scores.flag == 1)) & ~_at_threshold(
            case, scores.probability
        )
        if wrong.any():
            reasons.append(
                f'{int(wrong.sum())} flags contradict the operating point {threshold}, e.g. '
                f'{_first(case, wrong, scores.probability)}'
            )
    names = sorted({_text(version) for version in scores.model_version})
    if len(names) != 1 or not names[0]:
        reasons.append(f'model_version is {names}: expected one text that is not empty')
    return reasons


def _unlike(
    case: Case, expected_name: str, expected: Scores, found_name: str, found: Scores
) -> list[str]:
    tolerance = case.parameters.probability_tolerance
    reasons = []
    # Not `> tolerance`: a difference that is no number must not pass.
    wrong = ~(np.abs(expected.probability - found.probability) <= tolerance)
    if wrong.any():
        worst = int(
            np.argmax(
                np.where(
                    wrong,
                    np.nan_to_num(np.abs(expected.probability - found.probability), nan=np.inf),
                    -1,
                )
            )
        )
        reasons.append(
            f'{int(wrong.sum())} of {len(wrong)} probabilities differ by more than {tolerance:g}; '
            f'most for {case.ids[worst]}: '
            f'{expected_name} {expected.probability[worst]:.7f}, {found_name} '
            f'{found.probability[worst]:.7f}'
        )
    # An image within the tolerance of the operating point may fall on either side of it.
    flags = (expected.flag != found.flag) & ~_at_threshold(case, expected.probability)
    if flags.any():
        at = int(np.argmax(flags))
        reasons.append(
            f'{int(flags.sum())} of {len(flags)} flags differ; e.g. {case.ids[at]}: '
            f'{expected_name} {expected.flag[at]:g}, '
            f'{found_name} {found.flag[at]:g}'
        )
    return reasons


def _at_threshold(case: Case, probability: np.ndarray) -> np.ndarray:
    if case.samples.threshold is None:
        return np.zeros(probability.shape, bool)
    return np.abs(probability - case.samples.threshold) <= case.parameters.probability_tolerance


def _first(case: Case, wrong: np.ndarray, values: np.ndarray) -> str:
    at = int(np.argmax(wrong))
    return f'{case.ids[at]}: {values[at]}'


def _joined(scores: Sequence[Scores]) -> Scores:
    return Scores(
        **{
            name: np.concatenate([getattr(score, name) for score in scores])
            for name in signatures.SCORES
        }
    )


def _as_png(images: Sequence[bytes]) -> list[bytes]:
    """The decoded pixels, grey as the model sees them, encoded without loss."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        encoded = tf.compat.v1.placeholder(tf.string, [])
        pixels = tf.io.decode_image(encoded, channels=1, expand_animations=False)
        png = tf.io.encode_png(tf.ensure_shape(pixels, [None, None, 1]))
        return [session.run(png, {encoded: image}) for image in images]


def _text(name: bytes) -> str:
    return bytes(name).decode('utf-8', 'replace')


def _status(error: Exception) -> str:
    """The status as TF Serving names it, and the begin of the text."""
    if isinstance(error, tf.errors.OpError):
        codes = {
            value: name
            for name, value in vars(tf.errors).items()
            if name.isupper() and isinstance(value, int)
        }
        name, text = codes.get(error.error_code, type(error).__name__), error.message
    else:
        name, text = type(error).__name__, str(error)
    # TensorFlow puts a heading and the whole stack around what it has to say.
    text = ' '.join(text.removeprefix('Graph execution error:').split())
    return f'{name}: {text[:_MESSAGE_LENGTH]}'
