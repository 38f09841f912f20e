"""The script with the curves of a run, which the comparison page loads from disk."""

from __future__ import annotations

import json
from pathlib import Path

from components.evaluator.curves import Curves
from components.evaluator.results import CANDIDATE, Bin, Slice
from pages import run_curves, runs, store
from pages.measured import Evaluation
from schemas.signatures import PROBABILITY
from tests.support.synthetic_root import RootBuilder

RUN = '2026-11-21T22:25:35.123456'
HISTORY = (
    'phase,epoch,loss,auc,val_loss,val_auc\ntraining,0,0.7,0.5,,nan\ntraining,1,0.6,,0.5,0.8\n'
)


def _run(root: Path) -> runs.Run:
    (run,) = runs.all_runs(store.read(root))
    return run


def test_a_run_that_did_not_start_has_no_curves(builder: RootBuilder) -> None:
    builder.record(RUN, state=runs.NOT_STARTED)
    content = run_curves.content(_run(builder.root), None)
    assert content == {'roc': {}, 'reliability': {}, 'training': {}}


def test_curves_of_evaluation_and_training(builder: RootBuilder) -> None:
    number = builder.step(RUN, 'Trainer', outputs={'model_run': {}})['model_run']
    (builder.folder('Trainer', 'model_run', number) / 'history.csv').write_text(HISTORY)
    overall = Slice(())
    key = CANDIDATE, PROBABILITY
    overall.curves[key] = Curves(matrices=((0.5, 8, 2, 8, 2),))
    overall.reliability[key] = [Bin(12, 0.25, 1 / 3, 0.1, 0.6)]
    evaluation = Evaluation('x', (overall,), (), 0.95)
    content = run_curves.content(_run(builder.root), evaluation)
    title = 'Probability of the task'
    assert content['roc'] == {title: [[0.0, 0.0], [0.2, 0.8], [1.0, 1.0]]}
    assert content['reliability'] == {title: [[0.25, 0.33333, 0.1, 0.6, 12]]}
    assert content['training'] == {
        'training': {
            'epoch': [1, 2],
            'loss': [0.7, 0.6],
            'val_loss': [None, 0.5],
            'auc': [0.5, None],
            'val_auc': [None, 0.8],
        }
    }
    script = run_curves.script('slug', content)
    name, text = script.removeprefix('cxrCurves(').removesuffix(');\n').split(', ', 1)
    assert (json.loads(name), json.loads(text)) == ('slug', content)
