"""Differences between the versions of Kubeflow Pipelines that this project supports."""

from __future__ import annotations

import re

SUPPORTED = ('2.15', '2.16', '2.17')
NEWEST = SUPPORTED[-1]
NO_RETRIES = (
    'a step that fails (exit code other than 0, out of memory, a spot node that shuts down) '
    'is not retried, whatever kubeflow.retries says: the workflow defaults of '
    'Kubeflow Pipelines 2.17 retry only deleted pods. '
    'An administrator can change that: docs/kubeflow.md, "Retries"'
)


def retries_failed_steps(version: str) -> bool:
    """Whether a stock installation retries a failed step, as its retry policy says.

    Up to 2.16, Argo's own default applies: it retries failed pods, but not deleted ones. 2.17.0 has
    workflow defaults
    (manifests/kustomize/third-party/argo/base/workflow-controller-configmap-patch.yaml) with
    `retryPolicy: OnError`, which Argo merges into the retry strategy of each step. Then it retries
    deleted pods, but not failed ones. A cluster without these defaults behaves like 2.16.

    Args:
      version: version of the server, e.g. 2.17.0. A text such as `master` counts as older.
    """
    match = re.match(r'v?(\d+)\.(\d+)', version)
    return not match or (int(match[1]), int(match[2])) < (2, 17)
