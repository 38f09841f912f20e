"""The tables have the measured figures, and the pages in docs have these tables."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import goals, peers, scale
from experiments import ablation, cross_validation, quality, quality_table
from pipeline.steps import DATA_PATH


def _scale_figures(count: int, **changes: float) -> dict:
    seconds = dict.fromkeys((*DATA_PATH, 'Trainer', 'Evaluator'), count / 100)
    return {
        'films': count,
        'film_bytes': 67_000.0,
        'reference_s': count / 50,
        'steps_s': seconds,
        'steps_peak_bytes': dict.fromkeys(seconds, 1.25e9),
        'run_s': count / 10,
        'cpu_s': count / 5,
        'peak_bytes': 1.5e9,
        'rerun_s': 11.0,
        'stored_bytes': 20_000.0,
        **changes,
    }


def _text(table: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def _line(text: str, start: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return line.removeprefix(start).split()


def test_goals_without_figures_have_no_row(tmp_path: Path) -> None:
    assert 'peak memory' not in _text(goals.table(tmp_path))
    (tmp_path / 'scale.json').write_text(
        json.dumps([_scale_figures(1_000), _scale_figures(4_000, peak_bytes=2e9)])
    )
    text = _text(goals.table(tmp_path))
    assert _line(text, 'peak memory of any process of a run, GB')[:4] == ['≤', '8', '1.50,', '2.00']
    # Seven steps of n/100 s each, divided by n/50 s.
    assert _line(text, 'data path over one plain pass')[:3] == ['≤', '4', '3.50']
    assert 'Evaluator 1.00' in text
    assert 'Trainer' not in text
    assert 'training step' not in text


def test_memory_is_shown_for_the_run_and_for_each_step() -> None:
    text = _text(scale.table([_scale_figures(1_000), _scale_figures(4_000, peak_bytes=3e9)]))
    assert _line(text, 'peak memory of any process, GB') == ['1.50', '3.00', '0.50']
    assert _line(text, '  in Evaluator') == ['1.25', '1.25', '0.00']


def test_all_goals_have_a_row(tmp_path: Path) -> None:
    input_rates = {
        'decode_png alone': 3_000.0,
        'evaluation batches': 2_850.0,
        'training batches': 1_500.0,
    }
    step_seconds = {'bare fit on arrays': 2.0, "the trainer's": 2.02}
    figures = {
        'training': {
            'backbone': 'b',
            'batch_size': 32,
            'device': '2 cores',
            'input': input_rates,
            'step': step_seconds,
        },
        'evaluation': {
            'backbone': 'b',
            'films': 10,
            'plain_s': 10.0,
            'plain_peak_bytes': 1e9,
            'evaluator_s': 12.0,
            'evaluator_peak_bytes': 2e9,
        },
        'startup': {
            name: {'s': value}
            for name, value in (
                ('cxr-triage --help', 0.04),
                ('import tensorflow', 4.0),
                ('start of a local run', 6.0),
            )
        },
    }
    for name, content in figures.items():
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    text = _text(goals.table(tmp_path))
    assert '0.95 (2,850 of 3,000)' in text
    assert '1.01' in _line(text, 'training step over bare Keras fit')
    assert '1.20' in _line(text, 'Evaluator over plain batched inference, time')
    assert '1.50' in _line(text, 'start of a local run over import tensorflow')


def test_the_memory_of_the_template_is_extrapolated_from_two_counts() -> None:
    def peer_figures(count: int, template_bytes: float) -> dict:
        template = {
            'data_path_s': count / 20,
            'peak_bytes': template_bytes,
            'stored_bytes': 45_000.0,
        }
        return {
            'films': count,
            'ours': _scale_figures(count),
            'template': template,
            'epoch': {'notebook': 1_000.0, 'materialised': 2_700.0},
        }

    measurements = [peer_figures(1_000, 1.3e9), peer_figures(4_000, 2.2e9)]
    text = _text(peers.table(measurements, None))
    assert _line(text, '  growth per image, kB') == ['0', '300', '–']
    name = '  total with 112,120 images, GB'
    assert _line(text, name)[0] == '–'
    assert float(_line(text, name)[1]) == pytest.approx(34.6, abs=0.1)
    assert (
        _line(_text(peers.table(measurements, _scale_figures(112_120, peak_bytes=3e9))), name)[0]
        == '3.0'
    )
    assert _line(text, 'data path over one plain pass') == ['3.50', '2.50', '–']


def _figure(value: float) -> dict:
    return {'value': value, 'lower': value - 0.01, 'upper': value + 0.01}


TASK_RESULT = {
    'task': 'nih_triage',
    'films': 1_948,
    'patients': 1_468,
    'settings': {'model': {'image_size': 144}},
    'figures': {
        'AUC': _figure(0.8),
        'AUC, frozen features': _figure(0.7),
        'AUC above frozen features': _figure(0.1),
        'AUC, another recipe': _figure(0.75),
        'AUC above another recipe': _figure(0.05),
        'AUC within PA films': _figure(0.77),
        'expected calibration error': _figure(0.02),
    },
}

_VARIANT = {'auc': _figure(0.8), 'less': _figure(0.0), 'spread': 0.0021}
_WORSE_VARIANT = {'auc': _figure(0.75), 'less': _figure(-0.05), 'spread': None}
RESULTS = quality_table.Results(
    [TASK_RESULT],
    [
        {
            'task': 'nih_triage',
            'variants': {'with class weights': _VARIANT, 'no warm-up': _WORSE_VARIANT},
        }
    ],
)


def test_quality_tables_have_each_figure_with_its_interval() -> None:
    begin, end = '<!-- quality: {} -->', '<!-- end of quality: {} -->'
    marks = [
        (begin.format(name), end.format(name)) for name in ('tasks', 'beside', 'groups', 'ablation')
    ]
    page = (
        'before\n'
        + '\n'.join(f'{begin_mark}\nold\n{end_mark}\n' for begin_mark, end_mark in marks)
        + 'after\n'
    )
    result = quality_table.updated(page, RESULTS)
    assert (
        '| `nih_triage` | 1,948 | 144 | 0.800 | 0.790 – 0.810 | 0.700 | 0.100 | 0.090 – 0.110 |'
        in result
    )
    assert (
        '| `nih_triage` | another recipe | 0.750 | 0.740 – 0.760 | 0.050 | 0.040 – 0.060 |'
        in result
    )
    assert (
        result.count('another recipe')
        == result.count('| AUC within PA films | 0.770 (0.760 – 0.780) |')
        == 1
    )
    assert '| with class weights | 0.800 | ± 0.0021 |  |  |' in result
    assert '| no warm-up | 0.750 |  | -0.050 | -0.060 – -0.040 |' in result
    assert result.startswith('before\n')
    assert result.endswith('after\n')
    assert 'old' not in result
    assert quality_table.updated(result, RESULTS) == result


@pytest.mark.parametrize(
    'page',
    [
        '<!-- quality: tasks -->\n',
        '<!-- quality: tasks -->\n<!-- end of quality: beside -->',
        '<!-- quality: no such -->\n<!-- end of quality: no such -->',
    ],
    ids=['no end', 'another end', 'no such table'],
)
def test_an_invalid_mark_is_named(page: str) -> None:
    with pytest.raises(ValueError, match='quality: '):
        quality_table.updated(page, RESULTS)


@pytest.mark.parametrize('path', quality_table.PAGES, ids=lambda path: path.name)
def test_the_pages_have_the_tables_of_the_results(path: Path) -> None:
    """`make docs` changes nothing."""
    page = path.read_text()
    assert '<!-- quality: ' in page
    assert quality_table.updated(page, quality_table.load()) == page


def test_results_are_of_the_current_configuration() -> None:
    for result in quality_table.load().tasks:
        expected = cross_validation.settings(quality.plan(result['task'], None, ()))
        assert result['settings'] == expected


def test_ablations_are_of_the_current_configuration_except_base_and_image_size() -> None:
    ablations = quality_table.load().ablations
    assert ablations
    for result in ablations:
        size = f'model.image_size={result["settings"]["model"]["image_size"]}'
        assert result['settings'] == cross_validation.settings(
            ablation.plan(result['task'], None, (size,))
        )
        assert list(result['variants']) == list(ablation.VARIANTS)
