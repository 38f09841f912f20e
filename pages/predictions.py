"""The files with the predictions of a run, beside its evaluation page."""

from __future__ import annotations

import json

from pages.measured import Evaluation
from pipeline import csv_text

CSV, JSON = 'predictions.csv', 'predictions.json'


def files(evaluation: Evaluation) -> dict[str, str]:
    """File name -> text; empty for an evaluation of an earlier version.

    Raises:
      OSError, ValueError: the artifact is damaged.
    """
    kept = evaluation.predictions
    if kept is None:
        return {}
    rows = kept.astype(object).where(kept.notna(), None).to_numpy().tolist()
    content = {'columns': list(kept.columns), 'data': rows}
    return {
        CSV: ''.join(csv_text.lines(content['columns'], rows)),
        JSON: json.dumps(content, ensure_ascii=False, allow_nan=False) + '\n',
    }
