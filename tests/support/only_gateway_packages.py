"""Runs Python as in the image of the gateway: no module outside of its packages can be imported.

`python -m tests.support.only_gateway_packages PACKAGE... -- CODE`
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from typing import Any

_INSTALLED = 'site-packages'
# Several packages have modules below these names.
_SHARED = frozenset({'google'})


def top_levels(package: str) -> set[str]:
    """The modules that an installed package brings; of shared names, the second level too."""
    names = set()
    for file in importlib.metadata.distribution(package).files or ():
        first, *rest = file.parts
        if first in _SHARED and rest:
            names |= {first, f'{first}.{rest[0]}'}
        elif first.endswith(('.py', '.so')) or not first.endswith(('.dist-info', '.data')):
            names.add(first.split('.')[0])
    return names


class _OnlyPackages(MetaPathFinder):
    """Finds nothing, and refuses the modules of other installed packages."""

    def __init__(self, packages: Sequence[str]):
        self._names = {name for package in packages for name in top_levels(package)}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        parts = name.split('.')
        key = '.'.join(parts[:2]) if parts[0] in _SHARED else parts[0]
        if key in self._names:
            return
        spec = PathFinder.find_spec(name, path)
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        if any(_INSTALLED in str(place) for place in places):
            raise ModuleNotFoundError(f'No module named {name!r} in the gateway', name=name)


if __name__ == '__main__':
    end = sys.argv.index('--')
    sys.meta_path.insert(0, _OnlyPackages(sys.argv[1:end]))
    code = sys.argv[end + 1]
    sys.argv = ['gateway', *sys.argv[end + 2 :]]
    exec(compile(code, 'gateway', 'exec'))
