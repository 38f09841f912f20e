"""The answers as CSV and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from pipeline import csv_text
from schemas.labels import FINDINGS
from serving.predictions.models import Model
from serving.predictions.scoring import Answer

_COLUMNS = ('file', 'status', 'reason', 'probability', 'flag', 'warning', 'notes')


def to_csv(model: Model, answers: Sequence[Answer]) -> bytes:
    """CSV with a header; the findings come last, `flag` is 0 or 1."""
    findings = [name for name in FINDINGS if any(name in answer.findings for answer in answers)]
    rows = (
        [
            *(getattr(answer, name) for name in _COLUMNS[:4]),
            int(answer.flag),
            answer.warning,
            '; '.join(answer.notes),
            model.version,
            *(answer.findings.get(name) for name in findings),
        ]
        for answer in answers
    )
    # A file name that is not UTF-8 is escaped.
    return ''.join(csv_text.lines((*_COLUMNS, 'version', *findings), rows)).encode(
        errors='backslashreplace'
    )


def to_json(model: Model, answers: Sequence[Answer]) -> bytes:
    """JSON: `model` and `images`."""
    content = {
        'model': {
            'version': model.version,
            'source': model.source,
            'threshold': model.threshold,
        },
        'images': [dataclasses.asdict(answer) for answer in answers],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode(errors='backslashreplace') + b'\n'
