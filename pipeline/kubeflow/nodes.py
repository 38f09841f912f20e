"""Argo's nodes: which pods the templates of a workflow became, with all attempts at them.

A template `X` that can be tried again is a node of type Retry, whose children `X(0)`, `X(1)`, …
are the attempts. Kubeflow Pipelines 2.15 and 2.16 have such nodes for the containers of steps
alone. The workflow defaults of 2.17.0 add them for every template, drivers and the whole graph
included (manifests/kustomize/third-party/argo/base/workflow-controller-configmap-patch.yaml:
templateDefaults.retryStrategy):

    2.16: X (DAG) -> executor (Retry) -> executor(0) (Pod)
    2.17: X (Retry) -> X(0) (DAG) -> executor (Retry) -> executor(0) (Pod)
"""

from __future__ import annotations

import collections
from typing import Any

Node = dict[str, Any]
_POD_NAME_FORMAT = 'workflows.argoproj.io/pod-name-format'


class Nodes:
    """The nodes of a workflow.

    Args:
      workflow: Argo's, with its status.
    """

    def __init__(self, workflow: dict[str, Any]):
        self._metadata = workflow['metadata']
        self._nodes: dict[str, Node] = workflow['status']['nodes']
        self._inside: dict[str, list[Node]] = collections.defaultdict(list)
        for node in self._nodes.values():
            self._inside[node.get('boundaryID') or ''].append(node)
        for inside in self._inside.values():
            # A Retry node has its attempts in order, even if all started in the same second.
            inside.sort(key=lambda node: (node.get('startedAt') or '', node['type'] != 'Retry'))

    def root(self) -> tuple[Node | None, dict[str, Node]]:
        """The root driver, and template -> node of the newest attempt at the graph.

        The templates of the graph are the steps and their drivers.
        """
        # Argo gives the workflow's own node the name of the workflow.
        top = self._nodes.get(self._metadata['name'])
        outer = self._templates(top) if top else {}
        root = outer.get('root')
        return outer.get('root-driver'), self._templates(root) if root else {}

    def _templates(self, graph: Node) -> dict[str, Node]:
        """Template -> node within the newest attempt at a graph."""
        attempts = self._attempts(graph)
        return (
            {node['displayName']: node for node in self._inside[attempts[-1]['id']]}
            if attempts
            else {}
        )

    def below(self, node: Node) -> list[Node]:
        """A node, the attempts at it in their order, and all that is inside them."""
        nodes = {node['id']: node}
        for attempt in self._attempts(node):
            nodes.setdefault(attempt['id'], attempt)
            for inner in self._inside[attempt['id']]:
                nodes |= {node['id']: node for node in self.below(inner) if node['id'] not in nodes}
        return list(nodes.values())

    def pods(self, node: Node) -> list[Node]:
        """The pods of all attempts at a node, oldest first."""
        return [node for node in self.below(node) if node['type'] == 'Pod']

    def _attempts(self, node: Node) -> list[Node]:
        """The attempts at a node, oldest first; the node itself where it is never tried again."""
        if node['type'] != 'Retry':
            return [node]
        return [self._nodes[child] for child in node.get('children') or () if child in self._nodes]

    def pod_name(self, node: Node) -> str:
        """The name of the pod of a node.

        A node's id has no template in it, and the pod's name has (KFP's
        backend/src/common/util/workflow.go).
        """
        if (self._metadata.get('annotations') or {}).get(_POD_NAME_FORMAT) == 'v1':
            return node['id']
        return f'{self._metadata["name"]}-{node["templateName"]}-{node["id"].rpartition("-")[2]}'


def output(node: Node | None, name: str) -> str | None:
    """An output parameter of a node; None where it has none."""
    parameters = ((node or {}).get('outputs') or {}).get('parameters') or ()
    return next((item.get('value') for item in parameters if item['name'] == name), None)
