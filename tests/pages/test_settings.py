"""The columns of the front page with the settings that differ between runs."""

from __future__ import annotations

from pages import settings


def _run(slug: str, **facts: str) -> dict:
    return {'slug': slug, 'facts': {f'config.{key}': value for key, value in facts.items()}}


def test_only_settings_with_two_values_have_a_column() -> None:
    runs = [
        _run('c', root='"/c"', pipeline='"demo"', seed='1', epochs='3'),
        _run('b', root='"/b"', pipeline='"demo"', seed='1', epochs='2'),
        _run('a', root='"/a"', pipeline='"demo"', seed='0', epochs='2'),
    ]
    seed, epochs = settings.columns(runs, 'a')
    # Two runs changed the seed, one the epochs.
    assert (seed['key'], epochs['key']) == ('seed', 'epochs')
    assert seed['cells'] == {'c': ('1', False), 'b': ('1', False), 'a': ('0', True)}


def test_a_run_without_settings_has_no_cells_and_makes_no_column() -> None:
    unrecorded = {'slug': 'none', 'facts': {'task': 'nih_triage'}}
    assert settings.columns([unrecorded, _run('a', seed='0')], 'a') == []
    (column,) = settings.columns([_run('b', seed='1'), unrecorded, _run('a', seed='0')], 'a')
    assert set(column['cells']) == {'a', 'b'}


def test_a_setting_that_only_one_configuration_has_is_not_set_in_the_other() -> None:
    (column,) = settings.columns([_run('b', seed='1', limit='0.5'), _run('a', seed='1')], 'a')
    assert column['cells'] == {'b': ('0.5', False), 'a': ('not set', True)}
    # A key of a later release that is not set.
    assert settings.columns([_run('b', seed='1', owner='null'), _run('a', seed='1')], 'a') == []


def test_the_reference_is_the_served_run_or_else_the_first_with_settings() -> None:
    newest, served, first = _run('c', seed='1'), _run('b', seed='2'), _run('a', seed='3')
    oldest = {'slug': 'none', 'facts': {}}
    runs = [newest, served, first, oldest]
    assert settings.reference(runs, served) == served
    assert settings.reference(runs, None) == first
    assert settings.reference(runs, oldest) == first
    assert settings.reference([oldest], oldest) is None
