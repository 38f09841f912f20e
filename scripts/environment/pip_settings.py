"""Hands pip's configuration on to uv, which does not read it: who is behind a company mirror has
set up pip, and that must do.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.environment.choose import run_quietly

# pip's option -> uv's variable, and how uv separates several values (None: one value only).
_VARIABLES = {
    'index-url': ('UV_DEFAULT_INDEX', None),
    'extra-index-url': ('UV_INDEX', ' '),
    'find-links': ('UV_FIND_LINKS', ','),
    'trusted-host': ('UV_INSECURE_HOST', ' '),
    'no-index': ('UV_NO_INDEX', None),
    'cert': ('SSL_CERT_FILE', None),
    'client-cert': ('SSL_CLIENT_CERT', None),
    'proxy': ('ALL_PROXY', None),
    'timeout': ('UV_HTTP_TIMEOUT', None),
}
# Settings of pip that no installation here can use: other places, and reasons to refuse.
_ELSEWHERE = (
    'PIP_TARGET',
    'PIP_PREFIX',
    'PIP_ROOT',
    'PIP_CONSTRAINT',
    'PIP_REQUIREMENT',
    'PIP_NO_BINARY',
)
_REFUSALS = ('PIP_USER', 'PIP_REQUIRE_VIRTUALENV', 'PIP_DRY_RUN')
_OLD_NAMES = {
    'UV_DEFAULT_INDEX': 'UV_INDEX_URL',
    'UV_INDEX': 'UV_EXTRA_INDEX_URL',
    'ALL_PROXY': 'HTTPS_PROXY',
}


def pip_options(listing: str) -> dict[str, str]:
    """Options from the output of `pip config list`, by name without section.

    The environment (`:env:`) wins over `[install]`, and that over `[global]`; so pip itself
    decides.
    """
    by_section: dict[str, dict[str, str]] = {'global': {}, 'install': {}, ':env:': {}}
    for line in listing.splitlines():
        key, separator, value = line.partition('=')
        section, _, option = key.strip().rpartition('.')
        if separator and section in by_section:
            try:
                by_section[section][
                    option[len('default-') :] if option.startswith('default-') else option
                ] = str(ast.literal_eval(value))
            except (ValueError, SyntaxError):
                continue  # not a setting: a warning of pip's in between
    return {**by_section['global'], **by_section['install'], **by_section[':env:']}


def uv_variables(options: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Variables that make uv look where pip looks; none that the user has set for uv already.

    Args:
        options: pip's options by name, several values of one separated by whitespace.
        env: the process's environment.
    """
    variables = {}
    for option, (variable, separator) in _VARIABLES.items():
        values = options.get(option, '').split()
        if not values or env.get(variable) or env.get(_OLD_NAMES.get(variable, '')):
            continue
        if option == 'find-links':
            values = [
                value
                for value in values
                if '://' in value or Path(value).is_dir() or Path(value).is_file()
            ]
            if not values:
                continue  # pip only warns of a missing folder, uv fails
        if option == 'no-index':
            values = ['true' if values[0].lower() in ('1', 'true', 'yes', 'on') else 'false']
        variables[variable] = separator.join(values) if separator else values[-1]
    if 'UV_INDEX' in variables and not env.get('UV_INDEX_STRATEGY'):
        # pip takes a file from whichever index has it; the hashes in the lock say which file is
        # meant.
        variables['UV_INDEX_STRATEGY'] = 'unsafe-best-match'
    return variables


def pip_environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` for a run of pip, without the settings that send packages elsewhere than asked, or that
    keep pip from installing at all.

    A variable wins over pip's configuration files, so that `user = true` there is answered too.
    """
    kept = {name: value for name, value in env.items() if name not in _ELSEWHERE}
    return {
        **kept,
        **dict.fromkeys(_REFUSALS, '0'),
        'PIP_DISABLE_PIP_VERSION_CHECK': '1',
        'PIP_ROOT_USER_ACTION': 'ignore',
    }


def uv_environment(pythons: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """`env` and what pip is configured to use, for a run of uv; the first of the interpreters that
    has pip is asked.

    Where uv has a configuration of its own (uv.toml), that stands and only pip's certificate and
    proxy are added.
    """
    listing = next(
        filter(None, (run_quietly(python, '-m', 'pip', 'config', 'list') for python in pythons)), ''
    )
    variables = uv_variables(pip_options(listing), env)
    config_home = Path(env.get('XDG_CONFIG_HOME') or Path(env.get('HOME', '/')) / '.config')
    own = [config_home / 'uv' / 'uv.toml', Path('/etc/uv/uv.toml')]
    if env.get('UV_CONFIG_FILE') or any(path.is_file() for path in own):
        variables = {name: value for name, value in variables.items() if not name.startswith('UV_')}
    return {**env, **variables}
