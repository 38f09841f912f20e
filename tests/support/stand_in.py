"""Stands in for programs that need a cloud, a container engine or minutes.

It records each call and does what later commands need. It is installed under several names in a
folder at the front of PATH. Records go to $STAND_IN_CALLS, one JSON object per line; buckets are
folders under $STAND_IN_BUCKETS.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path


def copy_to_bucket(source: str, uri: str) -> None:
    """`gcloud storage cp [-r] SOURCE gs://BUCKET/PATH`."""
    target = Path(os.environ['STAND_IN_BUCKETS'], uri.removeprefix('gs://'))
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(source):
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def piped_input() -> str:
    """The input from a pipe, '' if there is none."""
    return sys.stdin.read() if stat.S_ISFIFO(os.fstat(0).st_mode) else ''


def main() -> None:
    """Records the call, then acts on it."""
    name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
    endpoint = os.environ.get('KF_PIPELINES_ENDPOINT', '')
    call = {'name': name, 'arguments': arguments, 'endpoint': endpoint, 'input': piped_input()}
    with open(os.environ['STAND_IN_CALLS'], 'a', encoding='utf-8') as calls:
        calls.write(json.dumps(call) + '\n')
    match [name, *arguments]:
        case ['gcloud', 'storage', 'cp', *_]:
            copy_to_bucket(*arguments[-2:])
        case ['kubectl', 'create', *_] if '-o' in arguments:
            sys.stdout.write('kind: ConfigMap\n')
        case ['sudo', program, *rest]:
            os.execvp(program, [program, *rest])


if __name__ == '__main__':
    main()
