"""The tables say what was measured, leave out what was not, and stand in the pages as they are."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import goals, peers, scale
from experiments import ablation, cross_validation, quality, quality_table
from pipeline.steps import DATA_PATH


def _measured(count: int, **changed: float) -> dict:
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
        **changed,
    }


def _text(table: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def _line(text: str, start: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return line.removeprefix(start).split()


def test_goals_without_figures_are_left_out(tmp_path: Path) -> None:
    assert 'peak memory' not in _text(goals.table(tmp_path))
    (tmp_path / 'scale.json').write_text(
        json.dumps([_measured(1_000), _measured(4_000, peak_bytes=2e9)])
    )
    text = _text(goals.table(tmp_path))
    assert _line(text, 'peak memory of any process of a run, GB')[:4] == ['≤', '8', '1.50,', '2.00']
    # Seven steps of n/100 s each, over n/50 s.
    assert _line(text, 'data path over one plain pass')[:3] == ['≤', '4', '3.50']
    assert 'Evaluator 1.00' in text
    assert 'Trainer' not in text
    assert 'training step' not in text


def test_memory_is_told_in_all_and_by_step() -> None:
    text = _text(scale.table([_measured(1_000), _measured(4_000, peak_bytes=3e9)]))
    assert _line(text, 'peak memory of any process, GB') == ['1.50', '3.00', '0.50']
    assert _line(text, '  in Evaluator') == ['1.25', '1.25', '0.00']


def test_all_goals(tmp_path: Path) -> None:
    reading = {
        'decode_png alone': 3_000.0,
        'evaluation batches': 2_850.0,
        'training batches': 1_500.0,
    }
    step = {'bare fit on arrays': 2.0, "the trainer's": 2.02}
    figures = {
        'training': {
            'backbone': 'b',
            'batch_size': 32,
            'device': '2 cores',
            'input': reading,
            'step': step,
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


def test_what_the_template_would_need_is_told_from_two_counts() -> None:
    def both(count: int, template_bytes: float) -> dict:
        template = {
            'data_path_s': count / 20,
            'peak_bytes': template_bytes,
            'stored_bytes': 45_000.0,
        }
        return {
            'films': count,
            'ours': _measured(count),
            'template': template,
            'epoch': {'notebook': 1_000.0, 'materialised': 2_700.0},
        }

    found = [both(1_000, 1.3e9), both(4_000, 2.2e9)]
    text = _text(peers.table(found, None))
    assert _line(text, '  more with each film, kB') == ['0', '300', '–']
    name = '  so with 112,120 films, GB'
    assert _line(text, name)[0] == '–'
    assert float(_line(text, name)[1]) == pytest.approx(34.6, abs=0.1)
    assert _line(_text(peers.table(found, _measured(112_120, peak_bytes=3e9))), name)[0] == '3.0'
    assert _line(text, 'data path over one plain pass') == ['3.50', '2.50', '–']


def _figure(value: float) -> dict:
    return {'value': value, 'lower': value - 0.01, 'upper': value + 0.01}


OF_TASK = {
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
_WORSE = {'auc': _figure(0.75), 'less': _figure(-0.05), 'spread': None}
KEPT = quality_table.Kept(
    [OF_TASK],
    [{'task': 'nih_triage', 'variants': {'with class weights': _VARIANT, 'no warm-up': _WORSE}}],
)


def test_quality_tables_hold_each_figure_with_its_interval() -> None:
    begin, end = '<!-- quality: {} -->', '<!-- end of quality: {} -->'
    marks = [
        (begin.format(name), end.format(name)) for name in ('tasks', 'beside', 'groups', 'ablation')
    ]
    page = 'before\n' + '\n'.join(f'{first}\nold\n{last}\n' for first, last in marks) + 'after\n'
    found = quality_table.written(page, KEPT)
    assert (
        '| `nih_triage` | 1,948 | 144 | 0.800 | 0.790 – 0.810 | 0.700 | 0.100 | 0.090 – 0.110 |'
        in found
    )
    assert (
        '| `nih_triage` | another recipe | 0.750 | 0.740 – 0.760 | 0.050 | 0.040 – 0.060 |' in found
    )
    assert (
        found.count('another recipe')
        == found.count('| AUC within PA films | 0.770 (0.760 – 0.780) |')
        == 1
    )
    assert '| with class weights | 0.800 | ± 0.0021 |  |  |' in found
    assert '| no warm-up | 0.750 |  | -0.050 | -0.060 – -0.040 |' in found
    assert found.startswith('before\n')
    assert found.endswith('after\n')
    assert 'old' not in found
    assert quality_table.written(found, KEPT) == found


@pytest.mark.parametrize(
    'page',
    [
        '<!-- quality: tasks -->\n',
        '<!-- quality: tasks -->\n<!-- end of quality: beside -->',
        '<!-- quality: no such -->\n<!-- end of quality: no such -->',
    ],
    ids=['no end', 'another end', 'no such table'],
)
def test_a_mark_that_cannot_be_followed_is_named(page: str) -> None:
    with pytest.raises(ValueError, match='quality: '):
        quality_table.written(page, KEPT)


@pytest.mark.parametrize('path', quality_table.PAGES, ids=lambda path: path.name)
def test_the_pages_hold_what_was_measured(path: Path) -> None:
    """`make docs` would change nothing."""
    page = path.read_text()
    assert '<!-- quality: ' in page
    assert quality_table.written(page, quality_table.load()) == page


def test_what_was_measured_is_what_is_configured() -> None:
    for each in quality_table.load().tasks:
        assert each['settings'] == cross_validation.settings(quality.plan(each['task'], None, ()))


def test_the_kept_ablation_is_of_what_is_configured_but_for_its_base_and_the_image_size() -> None:
    kept = quality_table.load().ablations
    assert kept
    for each in kept:
        size = f'model.image_size={each["settings"]["model"]["image_size"]}'
        assert each['settings'] == cross_validation.settings(
            ablation.plan(each['task'], None, (size,))
        )
        assert list(each['variants']) == list(ablation.VARIANTS)
