"""The files with the predictions of a run, beside its evaluation page."""

from __future__ import annotations

import json

from components.evaluator import predictions
from pipeline import csv_text

CSV, JSON = 'predictions.csv', 'predictions.json'


def files(folder: str) -> dict[str, str]:
    """File name -> text, of an `evaluation` artifact; empty for one of an earlier version.

    Raises:
      OSError, ValueError: the artifact is damaged.
    """
    if not predictions.paths(folder):
        return {}
    kept = predictions.read(folder)
    rows = kept.astype(object).where(kept.notna(), None).to_numpy().tolist()
    content = {'columns': list(kept.columns), 'data': rows}
    return {
        CSV: ''.join(csv_text.lines(content['columns'], rows)),
        JSON: json.dumps(content, ensure_ascii=False, allow_nan=False) + '\n',
    }
