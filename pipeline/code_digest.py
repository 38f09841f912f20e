"""Computes a digest of the code that a component runs, with all that it imports from this project.

The keys of TFX's cache are parameters and inputs. Since components use import paths instead of
module files, TFX does not see an edit. Each component gets the digest as a parameter, so that TFX
sees exactly the edits that matter to that component.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import os

PACKAGES: tuple[str, ...] = ('components', 'pipeline', 'records', 'schemas', 'storage', 'trainer')


def digest(*modules: str) -> str:
    """The first 16 hex digits of a SHA-256 over `modules` and their imports from this project.

    Comments and blank lines do not count, because the code is hashed as syntax trees. Docstrings
    and the data files of packages count.

    Raises:
      ImportError: a module does not exist.
    """
    hashed = hashlib.sha256()
    for module in closure(*modules):
        hashed.update(module.encode())
        path = _source(module)
        hashed.update(_syntax(path))
        if path.endswith('__init__.py'):
            for name, content in _package_data(os.path.dirname(path)):
                hashed.update(name.encode() + content)
    return hashed.hexdigest()[:16]


def closure(*modules: str) -> list[str]:
    """The modules that `digest` covers."""
    collected: set[str] = set()
    for module in modules:
        _collect(module, collected)
    return sorted(collected)


def _package_data(folder: str) -> list[tuple[str, bytes]]:
    files = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if (
            entry.is_file()
            and not entry.name.endswith(('.py', '.pyc'))
            and not entry.name.startswith('.')
        ):
            with open(entry.path, 'rb') as file:
                files.append((entry.name, file.read()))
    return files


def _collect(module: str, collected: set[str]) -> None:
    if module in collected:
        return
    collected.add(module)
    # A package's __init__ runs before its modules.
    if '.' in module:
        _collect(module.rpartition('.')[0], collected)
    for name in _imports(_source(module)):
        _collect(name, collected)


@functools.cache
def _source(module: str) -> str:
    path = _path(module)
    if path is None:
        raise ImportError(f'no module {module}')
    return path


@functools.cache
def _tree(path: str) -> ast.Module:
    with open(path, encoding='utf-8') as file:
        return ast.parse(file.read(), path)


@functools.cache
def _syntax(path: str) -> bytes:
    return ast.dump(_tree(path)).encode()


@functools.cache
def _imports(path: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f'{node.module}.{alias.name}' for alias in node.names)
    return {name for name in names if name.split('.')[0] in PACKAGES and _path(name)}


@functools.cache
def _path(module: str) -> str | None:
    """The file of a module of this project; None if there is none.

    Only the package is looked up through the import system: to look up a module would import its
    parents.
    """
    package, *rest = module.split('.')
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    stem = os.path.join(spec.submodule_search_locations[0], *rest)
    return next(
        (
            path
            for path in (os.path.join(stem, '__init__.py'), f'{stem}.py')
            if os.path.exists(path)
        ),
        None,
    )
