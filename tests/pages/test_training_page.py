"""The training page of a training that did not finish."""

from __future__ import annotations

from pages import runs, store, training_page
from pipeline.run_root import RunRoot
from tests.support.synthetic_root import STATES, RootBuilder

RUN = '2026-11-21T22:25:35.123456'


def _context(builder: RootBuilder) -> dict:
    (run,) = runs.all_runs(store.read(builder.root))
    return training_page.context(run)


def test_a_killed_run_shows_the_epochs_that_it_finished(builder: RootBuilder):
    builder.step(RUN, 'Trainer', STATES.RUNNING)
    # TFX makes the folders of the outputs before the step runs, and records them after it.
    folder = RunRoot(builder.root).artifacts / 'Trainer' / 'model_run' / '1'
    (folder / 'logs').mkdir(parents=True)
    (folder / 'history.csv').write_text(
        'phase,epoch,loss,val_loss\ntraining,0,0.7,0.6\ntraining,1,0.5,0.55\n'
    )
    context = _context(builder)
    assert not context['is_finished']
    assert [row[:3] for row in context['table']] == [['training', 1, '0.7'], ['training', 2, '0.5']]
    assert [plot['caption'] for plot in context['plots']] == ['Loss, phase "training"']
    assert context['logs'] == 'artifacts/Trainer/model_run/1/logs'


def test_a_run_that_was_killed_before_an_epoch_shows_none(builder: RootBuilder):
    builder.step(RUN, 'Trainer', STATES.RUNNING)
    context = _context(builder)
    assert (context['rows'], context['plots'], context['logs']) == ([], [], None)
