"""What differs between the versions of Kubeflow Pipelines that this project supports."""

from __future__ import annotations

import re

SUPPORTED = ('2.15', '2.16', '2.17')
NEWEST = SUPPORTED[-1]
NO_RETRIES = (
    'a step that fails (exit code other than 0, out of memory, a spot node that shuts down) '
    'is not tried again, whatever kubeflow.retries says: the workflow defaults of '
    'Kubeflow Pipelines 2.17 try deleted pods again and nothing else. '
    'An administrator can change that: docs/kubeflow.md, "Retries"'
)


def retries_failed_steps(version: str) -> bool:
    """Whether a stock installation tries a failed step again, as its retry policy says.

    Up to 2.16 Argo's own default decides: failed pods are tried again, and deleted ones are not.
    2.17.0 brings workflow defaults
    (manifests/kustomize/third-party/argo/base/workflow-controller-configmap-patch.yaml) with
    `retryPolicy: OnError`, which Argo merges into the retry strategy of each step. Then it is the
    other way round. A cluster whose administrator removed these defaults behaves like 2.16.

    Args:
      version: the server's, e.g. 2.17.0. Anything but a number, such as `master`, counts as older.
    """
    match = re.match(r'v?(\d+)\.(\d+)', version)
    return not match or (int(match[1]), int(match[2])) < (2, 17)
