"""A digest of the code that a component runs: the module named and all modules of this project that
it imports.

TFX keys its cache by parameters and inputs. With import paths instead of module files it does not
see an edit; the digest, handed to each component as a parameter, makes it see exactly the edits
that matter to that component.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import os

PACKAGES: tuple[str, ...] = ('components', 'pipeline', 'records', 'schemas', 'storage', 'trainer')


def digest(*modules: str) -> str:
    """SHA-256 (first 16 hex digits) over the sources of `modules` and of what they import from this
    project.

    Comments and blank lines do not count, as the code is compared as syntax trees; docstrings do,
    and so does each package's data.

    Raises:
      ImportError: a module does not exist.
    """
    found: set[str] = set()
    for module in modules:
        _collect(module, found)
    hashed = hashlib.sha256()
    for module in sorted(found):
        hashed.update(module.encode())
        path = _source(module)
        hashed.update(ast.dump(_tree(path)).encode())
        if path.endswith('__init__.py'):
            for name, content in _package_data(os.path.dirname(path)):
                hashed.update(name.encode() + content)
    return hashed.hexdigest()[:16]


def closure(*modules: str) -> list[str]:
    """The modules that `digest` covers."""
    found: set[str] = set()
    for module in modules:
        _collect(module, found)
    return sorted(found)


def _package_data(folder: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if (
            entry.is_file()
            and not entry.name.endswith(('.py', '.pyc'))
            and not entry.name.startswith('.')
        ):
            with open(entry.path, 'rb') as file:
                found.append((entry.name, file.read()))
    return found


def _collect(module: str, found: set[str]) -> None:
    if module in found:
        return
    found.add(module)
    # A package's __init__ runs before its modules.
    if '.' in module:
        _collect(module.rpartition('.')[0], found)
    for name in _imports(_source(module)):
        _collect(name, found)


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
    """The file of a module of this project; looked up by name, since asking the import system would
    run its parents.
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
