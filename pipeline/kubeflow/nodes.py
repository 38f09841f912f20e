"""Reads Argo's nodes: the pods of each template of a workflow, with all attempts.

A template `X` that Argo can retry is a node of type Retry, whose children `X(0)`, `X(1)`, … are the
attempts. Kubeflow Pipelines 2.15 and 2.16 have such nodes only for the containers of steps. The
workflow defaults of 2.17.0 add them for every template, including drivers and the whole graph
(manifests/kustomize/third-party/argo/base/workflow-controller-configmap-patch.yaml:
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
      workflow: Argo's workflow, with its status.
    """

    def __init__(self, workflow: dict[str, Any]):
        self._metadata = workflow['metadata']
        self._nodes: dict[str, Node] = workflow['status']['nodes']
        self._children: dict[str, list[Node]] = collections.defaultdict(list)
        for node in self._nodes.values():
            self._children[node.get('boundaryID') or ''].append(node)
        for children in self._children.values():
            # Retry nodes first: they have their attempts in order, even if all started in the same
            # second.
            children.sort(key=lambda node: (node.get('startedAt') or '', node['type'] != 'Retry'))

    def root(self) -> tuple[Node | None, dict[str, Node]]:
        """The root driver, and template -> node in the newest attempt of the graph.

        The templates of the graph are the steps and their drivers.
        """
        # The node of the whole workflow has the name of the workflow.
        top = self._nodes.get(self._metadata['name'])
        outer = self._templates(top) if top else {}
        root = outer.get('root')
        return outer.get('root-driver'), self._templates(root) if root else {}

    def _templates(self, graph: Node) -> dict[str, Node]:
        """Template -> node in the newest attempt of a graph."""
        attempts = self._attempts(graph)
        return (
            {node['displayName']: node for node in self._children[attempts[-1]['id']]}
            if attempts
            else {}
        )

    def below(self, node: Node) -> list[Node]:
        """A node, its attempts in order, and all nodes inside them."""
        nodes = {node['id']: node}
        for attempt in self._attempts(node):
            nodes.setdefault(attempt['id'], attempt)
            for child in self._children[attempt['id']]:
                nodes |= {node['id']: node for node in self.below(child) if node['id'] not in nodes}
        return list(nodes.values())

    def pods(self, node: Node) -> list[Node]:
        """The pods of all attempts of a node, oldest first."""
        return [node for node in self.below(node) if node['type'] == 'Pod']

    def _attempts(self, node: Node) -> list[Node]:
        """The attempts of a node, oldest first; the node itself if it has no retries."""
        if node['type'] != 'Retry':
            return [node]
        return [self._nodes[child] for child in node.get('children') or () if child in self._nodes]

    def pod_name(self, node: Node) -> str:
        """The name of the pod of a node.

        The pod's name contains the template, the node's id does not (KFP's
        backend/src/common/util/workflow.go).
        """
        if (self._metadata.get('annotations') or {}).get(_POD_NAME_FORMAT) == 'v1':
            return node['id']
        return f'{self._metadata["name"]}-{node["templateName"]}-{node["id"].rpartition("-")[2]}'


def output(node: Node | None, name: str) -> str | None:
    """An output parameter of a node; None if there is none."""
    parameters = ((node or {}).get('outputs') or {}).get('parameters') or ()
    return next((item.get('value') for item in parameters if item['name'] == name), None)
