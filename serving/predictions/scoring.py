"""Scores image files in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from records.terminal import error_text
from schemas import image_status, not_assessed, signatures
from schemas.labels import FINDINGS
from schemas.signatures import Signature
from serving import assessment
from serving.image_formats.error import UploadError
from serving.predictions import files
from serving.predictions.models import Model, RefusedError

_BATCH, _MAX_BATCH_BYTES = 16, 64 << 20
_THREADS = 4
# The status of a file that did not become an input of the model, or that the model refused.
NOT_READ = 'not_read'


@dataclass(frozen=True)
class Answer:
    """The answer for a file.

    Attributes:
      file: its path.
      status: a name of `schemas.image_status`, or NOT_READ.
      reason: why there is no probability, a sentence; else ''.
      probability: of the positive class; None without one.
      flag: whether it goes to a reader; an image without a probability always does.
      warning: why the service would not have asked the model, a sentence; else ''.
      notes: what to know about a DICOM file, sentences.
      findings: finding -> probability, of a task with findings.
    """

    file: str
    status: str
    reason: str = ''
    probability: float | None = None
    flag: bool = True
    warning: str = ''
    notes: tuple[str, ...] = ()
    findings: dict[str, float] = field(default_factory=dict)


def score(
    model: Model, paths: Sequence[str], advance: Callable[[int], None] = lambda count: None
) -> list[Answer]:
    """The answers for files: first those without a probability, then the highest probability.

    Args:
      model: scores the images.
      paths: of the files.
      advance: called with the number of files that were done.

    Raises:
      ModelError: the model does not answer.
    """
    answers: list[Answer] = []
    with ThreadPoolExecutor(_THREADS, 'images') as pool:
        for start in range(0, len(paths), _BATCH):
            batch = paths[start : start + _BATCH]
            images: dict[str, bytes] = {}
            notes: dict[str, tuple[str, ...]] = {}
            for path, content in zip(batch, pool.map(_read, batch), strict=True):
                if isinstance(content, Answer):
                    answers.append(content)
                else:
                    images[path], notes[path] = content
            warnings = pool.map(assessment.reason, images.values())
            outputs = ask(model, signatures.IMAGES, list(images.values()))
            answers += map(_answer, images, outputs, warnings, notes.values())
            advance(len(batch))
    return sorted(answers, key=lambda answer: (-_rank(answer), answer.file))


def ask(
    model: Model, signature: Signature, images: Sequence[bytes]
) -> list[dict[str, np.ndarray] | str]:
    """The outputs for each image, or why the model refuses it.

    Raises:
      ModelError: the model does not answer.
    """
    if not images:
        return []
    half = len(images) // 2
    if half and sum(map(len, images)) > _MAX_BATCH_BYTES:
        return [*ask(model, signature, images[:half]), *ask(model, signature, images[half:])]
    try:
        outputs = model.run(signature, images)
    except RefusedError as error:
        if not half:
            return [str(error)]
        # One image must not spoil the others.
        return [*ask(model, signature, images[:half]), *ask(model, signature, images[half:])]
    return [{name: values[row] for name, values in outputs.items()} for row in range(len(images))]


def _read(path: str) -> tuple[bytes, tuple[str, ...]] | Answer:
    try:
        return files.read_with_notes(path)
    except (UploadError, OSError) as error:
        return Answer(path, NOT_READ, error_text(error))


def _answer(
    path: str, outputs: dict[str, np.ndarray] | str, warning: str, notes: tuple[str, ...]
) -> Answer:
    if isinstance(outputs, str):
        return Answer(path, NOT_READ, outputs, notes=notes)
    status = bytes(outputs[signatures.STATUS]).decode()
    if status != image_status.OK:
        return Answer(path, status, not_assessed.SENTENCES.get(status, status), notes=notes)
    probability = float(outputs[signatures.PROBABILITY])
    if not math.isfinite(probability):
        return Answer(path, NOT_READ, "The model's answer is not a number.", notes=notes)
    return Answer(
        path,
        status,
        '',
        probability,
        bool(np.round(outputs[signatures.FLAG])),
        not_assessed.SENTENCES[warning] if warning else '',
        notes,
        {name: float(outputs[name]) for name in FINDINGS if name in outputs},
    )


def _rank(answer: Answer) -> float:
    return signatures.NOT_ASSESSED + 1 if answer.probability is None else answer.probability
