"""The part of the evaluation page that compares labels from reports with labels from experts."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from components.evaluator import registry
from components.evaluator.expert_results import Agreement, LabelSources
from components.evaluator.figure import Figure
from pages import names
from pages.measured import Evaluation


def context(evaluation: Evaluation) -> dict[str, Any] | None:
    """What the template shows; None if the run has no table of experts."""
    sources = evaluation.label_sources
    if sources is None:
        return None
    return {
        'table': table_name(sources),
        'images': sources.images,
        'tested': sources.tested,
        'metrics': [
            [
                registry.title(row.metric),
                f'{row.images:,}',
                row.report.text(),
                row.expert.text(),
                row.difference.signed_text(),
            ]
            for row in sources.metrics
        ],
        'missing': list(missing(sources)),
        'agreement': [_agreement_row(item) for item in sources.agreement if item.images],
    }


def table_name(sources: LabelSources) -> str:
    """The name of the table without its folder."""
    return posixpath.basename(sources.table)


def summary(sources: LabelSources) -> str:
    """The source of the experts' labels and what became of them, in a sentence or two."""
    text = (
        f'{table_name(sources)}: {sources.images:,} images, {sources.tested:,} of them in the test '
        'split. They judge the model; nothing is trained, calibrated or gated with them.'
    )
    return ' '.join([text, *missing(sources)])


def missing(sources: LabelSources) -> Iterator[str]:
    """Sentences about what could not be compared."""
    if not sources.tested:
        yield (
            'No image of the table is in the test split, so there is nothing to compare. '
            'data.split.method: official keeps the official test images of the NIH in it.'
        )
    elif sources.label not in sources.columns:
        yield (
            f'The table has no column for {names.label(sources.label)}, the label of the task: '
            'name its columns with data.expert_labels.columns to compare the metrics.'
        )
    elif not sources.metrics:
        yield 'No image of the test split has a clear answer of the experts about the task.'


def _agreement_row(item: Agreement) -> list[str]:
    counts = (item.images, item.patients)
    cells = (item.both, item.report_only, item.expert_only, item.neither)
    return [
        names.label(item.label),
        *(f'{count:,}' for count in (*counts, *cells)),
        f'{(item.both + item.neither) / item.images:.1%}',
        Figure(item.kappa).value_text(2),
        f'{item.undecided:,}',
    ]
