"""Shared functions of the tests of `submit`, `status`, `logs` and `cancel`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pipeline.kubeflow import client
from tests.support.kfp_api_double import ApiDouble

Cli = Callable[..., int]


def options(volume: Path) -> list[str]:
    """The options of the demo, with the data and the push directory on a volume."""
    volumes = f'kubeflow.volumes=[{{claim: images, mount: {volume}}}]'
    arguments = [
        '--config',
        'pipeline/configs/demo.yaml',
        '--data-root',
        str(volume / 'data'),
        '--root',
        'gs://bucket/runs',
    ]
    return [*arguments, '--push-dir', str(volume / 'served'), '--set', volumes]


def states(output: str) -> dict[str, list[str]]:
    """Returns the states of each step, in the order of the output."""
    steps: dict[str, list[str]] = {}
    for state, name in re.findall(
        r'^ *(done|cached|failed|running|skipped|stopped|waiting)  (\S+)', output, re.MULTILINE
    ):
        steps.setdefault(name, []).append(state)
    return steps


def submitted(server: ApiDouble, volume: Path) -> str:
    """A run of the compiled demo, submitted by kfp's client alone; nothing is compiled again."""
    return client.Server(client.Connection(server.url)).submit(
        str(volume / 'demo.yaml'), 'gs://bucket/runs', {}, 'e', 'n'
    )
