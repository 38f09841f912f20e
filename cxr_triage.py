"""Starts the command line, after a check that Python imports the packages of this project."""

from __future__ import annotations

import importlib.util
import os
import sys

_PACKAGES = (
    'cli',
    'components',
    'monitoring',
    'pages',
    'pipeline',
    'records',
    'schemas',
    'serving',
    'storage',
    'trainer',
)


def main() -> int:
    """Runs a command and returns its exit code."""
    if problem := _foreign_package():
        print(f'cxr-triage: {problem}', file=sys.stderr)
        return 1
    from cli.main import main as run

    return run()


def _foreign_package() -> str | None:
    """The message about a package that Python would import from elsewhere; None without one."""
    home = os.path.dirname(os.path.realpath(__file__))
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or [str(spec.origin)]) if spec else []
        if [os.path.realpath(place) for place in places] != [os.path.join(home, name)]:
            other = f'another one, {places[0]}' if places else 'none'
            variable = os.environ.get('PYTHONPATH')
            advice = (
                f'Unset PYTHONPATH, or take that folder out of it (it is {variable!r}).'
                if variable
                else 'Remove it.'
            )
            return (
                f'the package {name!r} has to be that of {home}, but Python finds {other}. {advice}'
            )
    return None


if __name__ == '__main__':
    sys.exit(main())
