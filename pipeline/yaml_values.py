"""Reads YAML into values that JSON can represent: text, numbers, booleans, null, lists, mappings.

PyYAML's own loader accepts far more and fails on some of it with many kinds of exceptions:
impossible dates, `!!int abc`, lists as keys, collections that contain themselves, aliases that
expand to millions of values. This module rejects all of these and reports their line and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_TAG = 'tag:yaml.org,2002:'
_SCALARS = tuple(f'{_TAG}{name}' for name in ('str', 'int', 'float', 'bool', 'null', 'timestamp'))
_KINDS = {
    'int': 'a whole number',
    'float': 'a number',
    'bool': 'true or false',
    'null': 'null',
    'timestamp': 'a date',
}
# YAML 1.1 reads 1e-4 as text, since it has no dot.
_EXPONENT = re.compile(r'[-+]?\d+[eE][-+]?\d+')
_MAX_DEPTH = 32
_TOO_DEEP = f'it is nested more than {_MAX_DEPTH} levels deep'
_MAX_VALUES = 100_000
_MAX_INTEGER = 2**63


class YamlError(ValueError):
    """Text that is not valid YAML or contains something that a configuration cannot have.

    Attributes:
      line: line of the error, from 1; 0 if unknown.
      column: column of the error, from 1; 0 if unknown.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0):
        super().__init__(message)
        self.line, self.column = line, column


def parse(text: str) -> Any:
    """Parses a text with one value; an empty text gives None.

    Raises:
      YamlError: the text is not valid YAML, or contains a value that is not allowed.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f'not valid YAML: {", ".join(filter(None, (error.context, error.problem)))}'
        raise YamlError(
            message, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0
        ) from None
    except yaml.reader.ReaderError as error:
        line, start = text.count('\n', 0, error.position) + 1, text.rfind('\n', 0, error.position)
        message = f'not valid YAML: the character {chr(error.character)!r} is not allowed'
        raise YamlError(message, line, error.position - start) from None
    except (ValueError, OverflowError) as error:
        raise YamlError(f'not valid YAML: {error}') from None
    return None if node is None else _Converter(loader).value(node, ())


def check_text(text: str) -> None:
    """Checks that a text can be part of file names and JSON.

    Raises:
      ValueError: the text has control characters or is not valid UTF-8.
    """
    for character in text:
        if (character < ' ' and character not in '\t\n') or character == '\x7f':
            raise ValueError(f'the control character {character!r} is not allowed')
        if '\ud800' <= character <= '\udfff':
            raise ValueError('it is not valid UTF-8')


class _Loader(yaml.SafeLoader):
    """Stops when the nesting is too deep; PyYAML alone takes seconds to reach Python's limit."""

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = 0

    def fetch_flow_collection_start(self, TokenClass: type) -> None:  # noqa: N803
        """See `yaml.scanner.Scanner`; the scanner reads far ahead of the composer."""
        if self.flow_level >= _MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, _TOO_DEEP, self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """See `yaml.composer.Composer`."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, _TOO_DEEP, self.peek_event().start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Converter:
    def __init__(self, loader: yaml.SafeLoader):
        self._loader, self._count = loader, 0

    def value(self, node: Node, parents: tuple[Node, ...]) -> Any:
        """The value of a node inside the collections `parents`."""
        self._count += 1
        if self._count > _MAX_VALUES:
            raise _error(node, f'more than {_MAX_VALUES:,} values, with those that aliases repeat')
        if node in parents:
            raise _error(node, 'the alias is inside the collection that it repeats')
        if len(parents) > _MAX_DEPTH:
            raise _error(node, _TOO_DEEP)
        if isinstance(node, MappingNode) and node.tag == f'{_TAG}map':
            return dict(self._items(node, (*parents, node)))
        if isinstance(node, SequenceNode) and node.tag == f'{_TAG}seq':
            return [self.value(item, (*parents, node)) for item in node.value]
        if isinstance(node, ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node)
        raise _error(node, f'the tag {node.tag.replace(_TAG, "!!")} is not allowed here')

    def _items(self, mapping: MappingNode, parents: tuple[Node, ...]) -> Iterator[tuple[str, Any]]:
        lines: dict[str, int] = {}
        for key, value in mapping.value:
            if key.tag == f'{_TAG}merge':
                raise _error(key, 'merge keys (<<) are not supported: write the keys out')
            if not isinstance(key, ScalarNode):
                raise _error(key, 'a key has to be text, not a collection')
            if key.tag != f'{_TAG}str':
                kind = _KINDS.get(key.tag.removeprefix(_TAG), 'something else')
                raise _error(
                    key,
                    f'the key {key.value!r} has to be text, but is read as {kind}: put it in '
                    'quotes',
                )
            name = self._scalar(key, exponent=False)
            if name in lines:
                raise _error(key, f'the key {name!r} is already in line {lines[name]}')
            lines[name] = key.start_mark.line + 1
            yield name, self.value(value, parents)

    def _scalar(self, node: ScalarNode, exponent: bool = True) -> Any:
        plain = node.style is None
        if node.tag == f'{_TAG}timestamp':
            # No key has dates as values, so a date is read as text.
            return node.value
        if exponent and node.tag == f'{_TAG}str' and plain and _EXPONENT.fullmatch(node.value):
            return float(node.value)
        try:
            value = self._loader.construct_object(node)
            if isinstance(value, str):
                check_text(value)
        except (
            yaml.YAMLError,
            ValueError,
            TypeError,
            AttributeError,
            LookupError,
            OverflowError,
        ) as error:
            has_reason = isinstance(error, ValueError) and node.tag == f'{_TAG}str'
            reason = (
                str(error)
                if has_reason
                else f'{node.value[:40]!r} is not {_KINDS.get(node.tag.removeprefix(_TAG), "text")}'
            )
            raise _error(node, reason) from None
        if isinstance(value, int) and abs(value) >= _MAX_INTEGER:
            raise _error(node, 'the number is too large')
        return value


def _error(node: Node, message: str) -> YamlError:
    return YamlError(message, node.start_mark.line + 1, node.start_mark.column + 1)
