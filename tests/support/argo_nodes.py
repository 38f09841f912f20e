"""Builds the nodes of Argo workflows in the form of Kubeflow Pipelines 2.17, or of 2.15 and 2.16.

The workflow defaults of 2.17.0 put a node of type Retry above every template (`captured_runs` has
the nodes of a real run). In earlier versions, only the containers of steps have one.
"""

from __future__ import annotations

import zlib
from typing import Any

STARTED, ENDED = '2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z'
Node = dict[str, Any]


class ArgoNodes:
    """The nodes of a workflow.

    Args:
      workflow: its name.
      every_template_retries: the form of 2.17.

    Attributes:
      nodes: the nodes. Their key `pod` is not Argo's: it is the name of the pod in Kubernetes.
    """

    def __init__(self, workflow: str, every_template_retries: bool):
        self._workflow, self._every_template_retries = workflow, every_template_retries
        self.nodes: list[Node] = []

    def add(
        self,
        name: str,
        kind: str,
        *attempts: tuple[str, str],
        inside: Node | None = None,
        retries: bool = False,
        summary: str = '',
    ) -> list[Node]:
        """Adds the nodes of a template and returns those of the attempts at it.

        Args:
          name: of the template: a step, its driver, `root`, `executor`; '' for the workflow itself.
          kind: Argo's type of the attempts.
          attempts: phase and message of each attempt.
          inside: the attempt at a graph that the template belongs to.
          retries: whether the template has a Retry node in earlier versions, too.
          summary: the message of the Retry node; by default that of the last attempt.
        """
        path = f'{inside["name"]}.{name}' if inside else self._workflow
        name, boundary = name or self._workflow, inside['id'] if inside else ''
        if kind == 'Skipped' or not (retries or self._every_template_retries):
            ((phase, message),) = attempts
            nodes = [self._node(path, name, kind, phase, message, boundary)]
        else:
            nodes = [
                self._node(f'{path}({number})', f'{name}({number})', kind, phase, message, boundary)
                for number, (phase, message) in enumerate(attempts)
            ]
            phase, message = attempts[-1]
            retry = self._node(path, name, 'Retry', phase, summary or message, boundary)
            self.nodes.append(retry | {'children': [node['id'] for node in nodes]})
        self.nodes += nodes
        return nodes

    def _node(
        self, path: str, name: str, kind: str, phase: str, message: str, boundary: str
    ) -> Node:
        digits, template = zlib.crc32(path.encode()), f'template-of-{name.partition("(")[0]}'
        return {
            'id': path if path == self._workflow else f'{self._workflow}-{digits}',
            'name': path,
            'displayName': name,
            'type': kind,
            'templateName': template,
            'phase': phase,
            'message': message,
            'boundaryID': boundary,
            'startedAt': STARTED,
            'finishedAt': None if phase in ('Running', 'Pending') else ENDED,
            'outputs': {},
            'pod': f'{self._workflow}-{template}-{digits}',
        }
