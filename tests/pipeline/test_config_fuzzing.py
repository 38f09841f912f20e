"""Any configuration either loads or is rejected with the position of the error."""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import experiment_options as options
from pipeline import config
from pipeline.config import Config, ConfigError

MINIMAL = 'pipeline: p\ntask: nih_triage\n'
CONFIGS = Path(config.__file__).parent / 'configs'
_ALIAS_BOMB = '{a: &a [1,1,1,1,1,1,1,1,1,1], ' + ', '.join(
    f'{name}: &{name} [{", ".join([f"*{previous}"] * 10)}]'
    for previous, name in zip('abcdefgh', 'bcdefghi', strict=True)
)
# A message about an empty path starts with the command-line option of that path.
_OPTIONS = ('--data-root (', '--weights (', '--root (', 'artifacts is empty', '--push-dir (')
# YAML values of all kinds.
VALUES = (
    *(
        '',
        '~',
        'true',
        '0',
        '-1',
        '3',
        '1.5',
        '1e-3',
        '.inf',
        '-.nan',
        '1_000',
        '0x10',
        '010',
        '1:30',
        '"3"',
        "''",
        'text',
        '"ä"',
    ),
    *(
        '9' * 25,
        '9' * 5000,
        '1e999',
        '[]',
        '{}',
        '[1, 2]',
        '[a, [b]]',
        '{a: 1}',
        '{1: 2}',
        '{[1]: 2}',
        '{{a: 1}: 2}',
        '{~: 1}',
    ),
    *(
        '2026-11-29',
        '2026-99-99',
        '2026-11-29 25:61:61',
        '!!timestamp x',
        '!!int abc',
        '!!float abc',
        '!!bool maybe',
        '!!null x',
    ),
    *(
        '!!int [1]',
        '!!str {a: b}',
        '!!map [1]',
        '!!seq {a: 1}',
        '!!binary "%%%"',
        '!!binary aGk=',
        '!!set {a, b}',
        '!!omap [a: 1]',
    ),
    *(
        '!!pairs [a: 1]',
        '!!python/object:os.system x',
        '!own x',
        '{<<: 3}',
        '{<<: [1]}',
        '{<<: {a: 1}}',
        '&a [*a]',
        '&a {b: *a}',
    ),
    *(
        '*nowhere',
        '[' * 5000,
        '[' * 60 + ']' * 60,
        '{a: ' * 60,
        '"\\0"',
        '"\\ud800"',
        '"\\e[31m"',
        '"\\x85"',
        '{a: 1, a: 2}',
        '- 1',
    ),
    *(
        'a: b: c',
        '%YAML 9.9',
        '---\n...\n---',
        '@',
        '`',
        '!!',
        '!<>',
        '? a',
        '{"": 1}',
        '[null]',
        '[{metric: auc, min: 2}]',
    ),
    *('[{metric: auc, slice: {sex: [F]}, min: 1}]', '[{metric: [auc]}]', '{train: 1}', _ALIAS_BOMB),
)


def _load(path: Path, settings: tuple[str, ...] = ()) -> Config | str:
    """Returns the configuration or the text of its ConfigError."""
    args = argparse.Namespace(
        config=str(path),
        settings=settings,
        data_root='data',
        weights=None,
        root=None,
        push_dir=None,
        beam=None,
    )
    try:
        return options.configuration(args)
    except ConfigError as error:
        return str(error)


def _check(result: Config | str, *prefixes: str) -> None:
    """Checks that an error starts with one of `prefixes` and that a configuration is complete."""
    if isinstance(result, str):
        assert result.startswith((*prefixes, *_OPTIONS)), result
        assert len(result) < 5_000
        assert not re.search(r'[\x00-\x08\x0b-\x1f\x7f]', result)
    else:
        assert json.loads(result.model_dump_json())['pipeline'] == result.pipeline


def _keys(model: Any, prefix: str = '') -> Iterator[str]:
    for name in model.model_fields:
        value = getattr(model, name)
        yield f'{prefix}{name}'
        if hasattr(value, 'model_fields'):
            yield from _keys(value, f'{prefix}{name}.')


@pytest.fixture(scope='module')
def minimal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('fuzzing') / 'minimal.yaml'
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize('value', VALUES, ids=lambda value: repr(value[:24]))
def test_any_value_is_loaded_or_rejected(value: str, minimal: Path) -> None:
    keys = random.Random(value).sample(list(_keys(Config(pipeline='p', task='nih_triage'))), 12)
    for key in (*keys, 'evaluation.thresholds', 'no.such.key'):
        _check(
            _load(minimal, (f'{key}={value}',)),
            f'--set {key}=',
            f"--set '{key}=",
            str(minimal),
        )
        if not value.startswith(('-', '%', '?', 'a:')):
            path = minimal.with_name('value.yaml')
            text = '' if key in ('pipeline', 'task') else MINIMAL
            path.write_text(f'{text}{key.split(".")[0]}: {value}\n')
            _check(_load(path), str(path))


@pytest.mark.parametrize('source', sorted(CONFIGS.glob('*.yaml')), ids=lambda path: path.stem)
def test_randomly_changed_configurations(source: Path, tmp_path: Path) -> None:
    rng = random.Random(source.stem)
    # Without comments: a change in a comment has no effect.
    text = yaml.safe_dump(yaml.safe_load(source.read_text()))
    path = tmp_path / 'changed.yaml'
    results = []
    for _ in range(40):
        content = text
        for _ in range(rng.randint(1, 3)):
            start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
            end = min(end, start + 20)
            piece = rng.choice(
                [
                    *VALUES[:-1],
                    '\t',
                    '\n',
                    ':',
                    ' - ',
                    '&x ',
                    '*x',
                    '#',
                    '{',
                    ']',
                    '"',
                    '\ufeff',
                    '\u2028',
                    content[start:end],
                ]
            )
            content = content[:start] + piece[:300] + content[rng.choice([start, end]) :]
        path.write_bytes(content.encode('utf-8', 'surrogatepass'))
        results.append(_load(path))
        _check(results[-1], str(path))
    assert {type(result) for result in results} >= {str}


def test_random_bytes_are_rejected(tmp_path: Path) -> None:
    rng = random.Random(5)
    path = tmp_path / 'bytes.yaml'
    for length in (1, 2, 3, 4, 50, 400):
        path.write_bytes(rng.randbytes(length))
        result = _load(path)
        assert isinstance(result, str)
        _check(result, str(path))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        pytest.param(
            'train: {epochs: !!int abc}', "line 3, column 17: 'abc' is not a whole number", id='int'
        ),
        pytest.param(
            'train: {? [a] : 1}',
            'line 3, column 11: a key has to be text, not a collection',
            id='list as key',
        ),
        pytest.param(
            'train: {yes: 1}',
            "line 3, column 9: the key 'yes' has to be text, but is read as true or false",
            id='bool as key',
        ),
        pytest.param(
            'train: {<<: {epochs: 3}}',
            r'line 3, column 9: merge keys (<<) are not supported',
            id='merge key',
        ),
        pytest.param(
            'train: &t {epochs: *t}',
            'line 3, column 8: the alias is inside the collection that it repeats',
            id='circular',
        ),
        pytest.param(
            'train: ' + '[' * 40 + ']' * 40, 'it is nested more than 32 levels deep', id='deep'
        ),
        pytest.param(
            'train:' + '\n- ' + '- ' * 4000,
            'line 4, column 63: not valid YAML: it is nested',
            id='deep block',
        ),
        pytest.param(
            'train: ' + '[' * 4000,
            'line 3, column 40: not valid YAML: it is nested more than 32 levels deep',
            id='deeper',
        ),
        pytest.param(
            f'train: {_ALIAS_BOMB}}}',
            'more than 100,000 values, with those that aliases repeat',
            id='aliases',
        ),
        pytest.param(
            'root: "a\\0b"',
            r"line 3, column 7: the control character '\x00' is not allowed",
            id='NUL',
        ),
        pytest.param('root: "\\ud800"', 'line 3, column 7: it is not valid UTF-8', id='surrogate'),
        pytest.param(f'train: {{seed: {"9" * 5000}}}', 'line 3, column 15: ', id='endless number'),
        pytest.param(
            'train: {seed: 99999999999999999999}',
            'line 3, column 15: the number is too large',
            id='large number',
        ),
        pytest.param(
            'root: !!binary aGk=',
            'line 3, column 7: the tag !!binary is not allowed here',
            id='bytes',
        ),
        pytest.param(
            'root: a\x1bb',
            "line 3, column 8: not valid YAML: the character '\\x1b' is not allowed",
            id='escape',
        ),
    ],
)
def test_an_error_names_its_position(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / 'c.yaml'
    path.write_text(MINIMAL + text)
    with pytest.raises(ConfigError) as caught:
        config.load(str(path))
    assert str(caught.value).startswith(f'{path}')
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        pytest.param('train: {learning_rate: 1e-4}', 1e-4, id='an exponent without a dot'),
        pytest.param('train: &t {learning_rate: 0.5}\ndata: {exclude: null}', 0.5, id='an anchor'),
    ],
)
def test_numbers(text: str, expected: float, tmp_path: Path) -> None:
    path = tmp_path / 'c.yaml'
    path.write_text(MINIMAL + text)
    assert config.load(str(path)).train.learning_rate == expected


def test_a_date_is_text(tmp_path: Path) -> None:
    path = tmp_path / 'c.yaml'
    path.write_text('pipeline: 2026-99-99\ntask: nih_triage\n')
    assert config.load(str(path)).pipeline == '2026-99-99'


def test_a_large_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / 'c.yaml'
    path.write_text(MINIMAL + '#' * 1_000_000)
    with pytest.raises(ConfigError, match=r'larger than 1,000,000 bytes: not a configuration'):
        config.load(str(path))


def test_a_path_that_is_not_utf_8_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / 'c.yaml'
    path.write_text(MINIMAL)
    with pytest.raises(ConfigError, match=r"root: 'a\\udcff': it is not valid UTF-8"):
        config.load(str(path), root='a\udcff')
