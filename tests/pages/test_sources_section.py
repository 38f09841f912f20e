"""The part of the evaluation page and the model card that compares two sources of labels."""

from __future__ import annotations

from pathlib import Path

from components.evaluator import expert_results
from components.evaluator.expert_results import Agreement, LabelSources, Row
from components.evaluator.figure import Figure
from pages import label_sources
from pages.measured import Evaluation


def _sources(**values) -> LabelSources:
    content = {
        'table': '/data/metadata/experts.csv',
        'rows': 30,
        'images': 20,
        'tested': 10,
        'columns': {'abnormal': ('Abnormal',)},
        'label': 'abnormal',
        'metrics': [
            Row(
                metric='auc',
                images=9,
                report=Figure(0.8, 0.7, 0.9),
                expert=Figure(None),
                difference=Figure(0.05, -0.01, 0.1),
            )
        ],
        'agreement': [
            Agreement(
                label='Pleural_Thickening',
                patients=7,
                both=4,
                report_only=1,
                expert_only=2,
                neither=3,
                undecided=1,
            )
        ],
    }
    return LabelSources.model_validate({**content, **values})


def _context(folder: Path, sources: LabelSources) -> dict:
    (folder / expert_results.FILE).write_text(sources.model_dump_json())
    context = label_sources.context(Evaluation(str(folder), (), (), 0.95))
    assert context is not None
    return context


def test_both_sources_are_side_by_side(tmp_path: Path) -> None:
    context = _context(tmp_path, _sources())
    assert context['table'] == 'experts.csv'
    assert context['metrics'] == [
        ['AUC', '9', '0.800 (0.700 – 0.900)', 'not defined', '+0.050 (-0.010 – 0.100)']
    ]
    assert context['agreement'] == [
        ['Pleural Thickening', '10', '7', '4', '1', '2', '3', '70.0%', '0.40', '1']
    ]
    assert context['missing'] == []


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    none = _context(tmp_path, _sources(tested=0, metrics=[], agreement=[]))
    assert 'No image of the table is in the test split' in none['missing'][0]
    other = _context(tmp_path, _sources(columns={'Mass': ('Mass',)}, metrics=[]))
    assert 'no column for abnormal' in other['missing'][0]
    unclear = _context(tmp_path, _sources(metrics=[]))
    assert 'clear answer' in unclear['missing'][0]


def test_a_run_without_a_table_has_no_such_part(tmp_path: Path) -> None:
    assert label_sources.context(Evaluation(str(tmp_path), (), (), 0.95)) is None
