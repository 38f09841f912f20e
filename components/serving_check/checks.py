"""The checks that a model must pass before it may be served.

Each check is a function that returns the reasons why the model fails it; none if it passes.
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
# Share of the sample images. Some of them may be images that no model can assess, such as a blank
# one; the check uses the others.
_LEAST_ASSESSED_SHARE = 0.5
# Probabilities that differ by no more than this count as the same answer.
_SAME_ANSWER = 1e-6
_NO_IMAGES = 'no images'


@dataclass(frozen=True)
class Case:
    """The input of the checks.

    Attributes:
      model: the loaded model.
      model_dir: the folder that it was loaded from.
      samples: images with the trainer's answers.
      parameters: with the tolerances and limits.
    """

    model: SessionModel
    model_dir: str
    samples: Samples
    parameters: ServingCheckParameters

    @functools.cached_property
    def statuses(self) -> dict[str, str]:
        """The image status that the model returns for each sample, by image id."""
        scores = self.model.score(signatures.IMAGES, [item.image for item in self.samples.items])
        return {
            item.image_id: _text(name)
            for item, name in zip(self.samples.items, scores.status, strict=True)
        }

    @property
    def not_assessed(self) -> dict[str, str]:
        """The statuses other than `ok`, by image id."""
        return {
            image_id: name for image_id, name in self.statuses.items() if name != image_status.OK
        }

    @property
    def items(self) -> list[Sample]:
        """The samples that the model assesses; the others have no answer to compare."""
        return [item for item in self.samples.items if item.image_id not in self.not_assessed]

    @property
    def ids(self) -> list[str]:
        """The image ids of `items`."""
        return [item.image_id for item in self.items]

    @property
    def examples(self) -> list[bytes]:
        """The serialized tf.Examples of `items`."""
        return [item.example for item in self.items]

    @property
    def images(self) -> list[bytes]:
        """The encoded images of `items`."""
        return [item.image for item in self.items]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
      name: for people.
      run: returns the reasons why the model fails the check.
      vital: whether the later checks are skipped if this one fails.
    """

    name: str
    run: Callable[[Case], list[str]]
    vital: bool = False


def has_promised_signatures(case: Case) -> list[str]:
    """The model has every promised signature, with the right inputs, outputs, dtypes and shapes."""
    return [
        problem
        for signature in signatures.ALL_SIGNATURES
        for problem in case.model.broken_promises(signature)
    ]


def images_assessed(case: Case) -> list[str]:
    """The model assesses the image of the warm-up file and at least half of the sample images."""
    (name,) = case.model.score(signatures.IMAGES, [warmup.image()]).status
    reasons = (
        []
        if _text(name) == image_status.OK
        else [f'the image of the warm-up file, a good one, gets status {_text(name)!r}']
    )
    if len(case.items) < _LEAST_ASSESSED_SHARE * len(case.samples.items):
        image_id, status = next(iter(case.not_assessed.items()))
        reasons.append(
            f'{len(case.not_assessed)} of {len(case.statuses)} sample images are not assessed, '
            f'e.g. {image_id}: {status}'
        )
    return reasons


def answers_differ(case: Case) -> list[str]:
    """Not all images get the same probability.

    A constant model is useless, but it can still meet a threshold on sensitivity or specificity.
    """
    answers = case.model.score(signatures.IMAGES, [warmup.image(), *case.images]).probability
    if np.ptp(answers) <= _SAME_ANSWER:
        return [
            f'the model gives the same answer, {answers[0]:.6f}, for {len(answers)} different '
            'images'
        ]
    return []


def trainer_parity(case: Case) -> list[str]:
    """Serialized examples get the trainer's probabilities and flags.

    The probabilities are finite, in 0..1, and agree with the flags.
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
    """An image gets the same answer alone and in a batch."""
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
    """All forms of an image get the same answer.

    The forms are the full example, an example with only the image, the encoded image, and its
    pixels as PNG.
    """
    reference = case.model.score(signatures.EXAMPLES, case.examples)
    lean = case.model.score(signatures.EXAMPLES, [image_only(image) for image in case.images])
    raw = case.model.score(signatures.IMAGES, case.images)
    png = case.model.score(signatures.IMAGES, _as_png(case.images))
    return [
        *_unlike(case, 'the full example', reference, 'an example with only the image', lean),
        *_unlike(case, signatures.EXAMPLES.name, reference, signatures.IMAGES.name, raw),
        *_unlike(case, 'the original image', raw, 'its pixels as PNG', png),
    ]


def images_not_assessed(case: Case) -> list[str]:
    """An image that cannot be assessed gets its status and is flagged for a reader.

    The answers for the other images in the batch do not change.
    """
    bad, reasons = bad_images.examples(warmup.image()), []
    for signature in signatures.SIGNATURES:
        values = [case.images[0], *(image for image, _ in bad.values()), case.images[-1]]
        if signature is signatures.EXAMPLES:
            values = [image_only(value) for value in values]
        scores = case.model.score(signature, values)
        for (description, (_, expected)), status, *answer in zip(
            bad.items(),
            scores.status[1:-1],
            scores.probability[1:-1],
            scores.flag[1:-1],
            strict=True,
        ):
            if _text(status) != expected:
                reasons.append(
                    f'{signature.name}: {description} gets status {_text(status)!r}: expected '
                    f'{expected!r}'
                )
            elif answer != [signatures.NOT_ASSESSED, signatures.NOT_ASSESSED]:
                reasons.append(
                    f'{signature.name}: {description} gets probability {answer[0]:g} and flag '
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
    """The model rejects a request without images, with a reason."""
    reasons = []
    for signature in signatures.ALL_SIGNATURES:
        try:
            case.model.run(signature.name, {signature.input: []})
        except tf.errors.InvalidArgumentError as error:
            if _NO_IMAGES not in error.message:
                reasons.append(
                    f'{signature.name}: a request without images gets {_status(error)}: expected '
                    f'a message with {_NO_IMAGES!r}'
                )
        else:
            reasons.append(
                f'{signature.name}: a request without images is answered: expected INVALID_ARGUMENT'
            )
    return reasons


def explanations(case: Case) -> list[str]:
    """Heat maps are finite, and come with the same scores as from the scoring signature."""
    return _beside_scores(case, signatures.EXPLAIN, signatures.HEAT_MAP, '[batch, height, width]')


def embeddings(case: Case) -> list[str]:
    """Embeddings are finite, and come with the same scores as from the scoring signature."""
    shape = f'[batch, {signatures.EMBEDDING_SIZE}]'
    return _beside_scores(case, signatures.EMBED, signatures.EMBEDDING, shape)


def _beside_scores(
    case: Case, signature: signatures.Signature, output: str, shape: str
) -> list[str]:
    expected = case.model.score(signatures.IMAGES, case.images)
    answers = case.model.run(signature.name, {signature.input: case.images})
    values = answers[output]
    is_shaped = values.ndim == len(shape.split(',')) and len(values) == len(case.images)
    if not is_shaped or not np.isfinite(values).all():
        actual = list(values.shape)
        return [f'{signature.name}: {output} of shape {actual} is not finite numbers {shape}']
    scores = Scores(**{name: answers[name] for name in signatures.SCORES})
    return _unlike(case, signatures.IMAGES.name, expected, signature.name, scores)


def warmup_replay(case: Case) -> list[str]:
    """Every request of the warm-up file runs: TF Serving serves no version whose warm-up fails."""
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
    Check('images are assessed', images_assessed, vital=True),
    Check('answers differ between images', answers_differ),
    Check("answers equal the trainer's", trainer_parity),
    Check('batch of one equals batch of many', batch_parity),
    Check('image bytes, lean example and PNG equal the example', image_parity),
    Check('images that cannot be assessed get their status', images_not_assessed),
    Check('a request without images is refused', empty_batch),
    Check('heat maps belong to the same answers', explanations),
    Check('embeddings belong to the same answers', embeddings),
    Check('warm-up requests run', warmup_replay),
)


def run(check: Check, case: Case) -> list[str]:
    """Runs one check and returns its reasons; an error that the model raises becomes a reason."""
    try:
        return check.run(case)
    except (tf.errors.OpError, BrokenPromiseError, KeyError, ValueError) as error:
        return [_status(error)]


def latency(case: Case) -> dict[str, float]:
    """Measures latency and throughput of the session, without a network.

    Returns:
      `p50_ms`, `p95_ms` and `p99_ms` of a request with one image, in milliseconds, and
      `throughput_images_per_s` in batches of `throughput_batch`; empty if `latency_requests` is 0.
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
    case: Case, expected_name: str, expected: Scores, actual_name: str, actual: Scores
) -> list[str]:
    tolerance = case.parameters.probability_tolerance
    reasons = []
    # Not `> tolerance`: NaN must not pass.
    wrong = ~(np.abs(expected.probability - actual.probability) <= tolerance)
    if wrong.any():
        worst = int(
            np.argmax(
                np.where(
                    wrong,
                    np.nan_to_num(np.abs(expected.probability - actual.probability), nan=np.inf),
                    -1,
                )
            )
        )
        reasons.append(
            f'{int(wrong.sum())} of {len(wrong)} probabilities differ by more than {tolerance:g}; '
            f'most for {case.ids[worst]}: '
            f'{expected_name} {expected.probability[worst]:.7f}, {actual_name} '
            f'{actual.probability[worst]:.7f}'
        )
    # An image within the tolerance of the operating point may be on either side of it.
    flags = (expected.flag != actual.flag) & ~_at_threshold(case, expected.probability)
    if flags.any():
        first = int(np.argmax(flags))
        reasons.append(
            f'{int(flags.sum())} of {len(flags)} flags differ; e.g. {case.ids[first]}: '
            f'{expected_name} {expected.flag[first]:g}, '
            f'{actual_name} {actual.flag[first]:g}'
        )
    return reasons


def _at_threshold(case: Case, probability: np.ndarray) -> np.ndarray:
    if case.samples.threshold is None:
        return np.zeros(probability.shape, bool)
    return np.abs(probability - case.samples.threshold) <= case.parameters.probability_tolerance


def _first(case: Case, wrong: np.ndarray, values: np.ndarray) -> str:
    first = int(np.argmax(wrong))
    return f'{case.ids[first]}: {values[first]}'


def _joined(scores: Sequence[Scores]) -> Scores:
    return Scores(
        **{
            name: np.concatenate([getattr(score, name) for score in scores])
            for name in signatures.SCORES
        }
    )


def _as_png(images: Sequence[bytes]) -> list[bytes]:
    """The decoded images, grey as the model sees them, encoded again without loss."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        encoded = tf.compat.v1.placeholder(tf.string, [])
        pixels = tf.io.decode_image(encoded, channels=1, expand_animations=False)
        png = tf.io.encode_png(tf.ensure_shape(pixels, [None, None, 1]))
        return [session.run(png, {encoded: image}) for image in images]


def _text(name: bytes) -> str:
    return bytes(name).decode('utf-8', 'replace')


def _status(error: Exception) -> str:
    """The name of the status in TF Serving, and the beginning of the message."""
    if isinstance(error, tf.errors.OpError):
        codes = {
            value: name
            for name, value in vars(tf.errors).items()
            if name.isupper() and isinstance(value, int)
        }
        name, text = codes.get(error.error_code, type(error).__name__), error.message
    else:
        name, text = type(error).__name__, str(error)
    # TensorFlow puts a heading before the message and the stack after it.
    text = ' '.join(text.removeprefix('Graph execution error:').split())
    return f'{name}: {text[:_MESSAGE_LENGTH]}'
