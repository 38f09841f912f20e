"""The search for settings: trials stay within their bounds, and the Trainer gets the best one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from trainer import tuning
from trainer.input_pipeline import Split
from trainer.parameters import (
    ModelParameters,
    TrainerParameters,
    TrainParameters,
    TuningParameters,
    with_values,
)

PARAMETERS = TrainerParameters(
    model=ModelParameters(backbone='scratch_cnn', image_size=32),
    train=TrainParameters(batch_size=16, epochs=5, seed=3),
)
TUNING = TuningParameters(
    trials=3, epochs=1, learning_rate=(1e-4, 1e-2), unfreeze_share=(0.3, 0.9), dropout=(0.1, 0.4)
)


def _search(splits: dict[str, Split], folder: Path):
    def patterns(name: str) -> list[str]:
        return [str(Path(splits[name].files[0]).parent / '*')]

    config = {
        'parameters': PARAMETERS.model_dump_json(),
        'tuning': TUNING.model_dump_json(),
        'task': 'nih_triage',
    }
    result = tuning.tuner_fn(
        SimpleNamespace(
            custom_config=config,
            train_files=patterns('train'),
            eval_files=patterns('val'),
            working_dir=str(folder),
        )
    )
    result.tuner.search(**result.fit_kwargs)
    return result.tuner


@pytest.mark.slow
def test_the_search_returns_the_best_trial(
    splits: dict[str, Split], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tuner = _search(splits, tmp_path / 'first')
    trials = tuner.oracle.get_best_trials(9)
    assert len(trials) == 3
    for trial in trials:
        values = trial.hyperparameters.values
        assert all(
            low <= values[name] <= high
            for name, (low, high) in TUNING.model_dump(include=set(values)).items()
        )
        assert 0 <= trial.score <= 1
    best = tuner.get_best_hyperparameters()[0].get_config()['values']
    assert best == max(trials, key=lambda trial: trial.score).hyperparameters.values
    assert len({tuple(trial.hyperparameters.values.items()) for trial in trials}) == 3
    # The same seed gives the same trials and scores.
    repeated = _search(splits, tmp_path / 'repeated')
    assert [trial.score for trial in repeated.oracle.get_best_trials(9)] == [
        trial.score for trial in trials
    ]
    assert 'Trial' not in capsys.readouterr().out


def test_tuned_values_replace_parameters() -> None:
    chosen = with_values(
        PARAMETERS, {'learning_rate': 0.5, 'dropout': 0.25, 'unfreeze_share': 0.75}
    )
    assert (chosen.train.learning_rate, chosen.train.unfreeze_share, chosen.model.dropout) == (
        0.5,
        0.75,
        0.25,
    )
    assert chosen.train.epochs == PARAMETERS.train.epochs
    assert chosen.model.backbone == 'scratch_cnn'
    assert with_values(PARAMETERS, {}) == PARAMETERS


@pytest.mark.parametrize(
    'ranges',
    [
        {'learning_rate': (1e-3, 1e-4)},
        {'dropout': (0.2, 0.2)},
        {'unfreeze_share': (0.5, 1.5)},
        {'learning_rate': (0.0, 0.1)},
    ],
    ids=['reversed', 'empty', 'above 1', 'zero'],
)
def test_invalid_ranges_are_refused(ranges: dict) -> None:
    with pytest.raises(ValueError, match='expected a lower and a higher value within'):
        TuningParameters(**ranges)
