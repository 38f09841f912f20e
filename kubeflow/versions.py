"""What differs between the versions of Kubeflow Pipelines that this project runs on: 2.15, 2.16 and 2.17."""

from __future__ import annotations

import re

SUPPORTED = ('2.15', '2.16', '2.17')
NEWEST = SUPPORTED[-1]
NO_RETRIES = (
    'a step that fails (exit code other than 0, out of memory, a spot node that shuts down) is not tried again, '
    'whatever kubeflow.retries says: the workflow defaults of Kubeflow Pipelines 2.17 try deleted pods again and '
    'nothing else. An administrator can change that: docs/kubeflow.md, "Retries"'
)


def retries_failed_steps(version: str) -> bool:
    """Whether an installation as it comes tries a failed step again as often as its retry policy says.

    Up to 2.16 Argo's own default decides: failed pods are tried again, deleted ones are not. 2.17.0 brings workflow defaults
    (manifests/kustomize/third-party/argo/base/workflow-controller-configmap-patch.yaml) with `retryPolicy: OnError`, which Argo merges into
    the retry strategy of each step. It is the other way round then. A cluster whose administrator took the defaults out does as 2.16.

    Args:
      version: as the server says it, e.g. 2.17.0. One that is no number, such as that of a build of somebody's own, counts as older.
    """
    match = re.match(r'v?(\d+)\.(\d+)', version)
    return not match or (int(match[1]), int(match[2])) < (2, 17)
