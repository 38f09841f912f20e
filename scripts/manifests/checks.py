"""The list of all checks other than the schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scripts.manifests import (
    connections,
    gateway,
    google,
    model_server,
    references,
    scaling,
    workloads,
)
from scripts.manifests.objects import Objects, Problem
from scripts.manifests.restricted import restricted

CHECKS: tuple[Callable[[Objects], Iterator[Problem]], ...] = (
    connections.namespaces,
    connections.workload_selectors,
    connections.spreads,
    connections.services,
    connections.ingresses,
    connections.autoscalers,
    connections.disruption_budgets,
    connections.network_policies,
    connections.uncovered_pods,
    connections.monitoring,
    references.service_accounts,
    references.missing,
    references.unused,
    references.volumes,
    references.variables,
    workloads.images,
    workloads.resources,
    workloads.probes,
    workloads.jobs,
    scaling.autoscalers,
    scaling.disruption_budgets,
    scaling.rollouts,
    restricted,
    model_server.flags,
    model_server.models,
    model_server.monitoring_paths,
    model_server.retries,
    model_server.log_lines,
    gateway.model_servers,
    gateway.databases,
    google.references,
    google.certificates,
    google.health_checks,
)


def problems(objects: Objects) -> list[Problem]:
    """Returns every problem of the objects, each with its remedy."""
    return [problem for check in CHECKS for problem in check(objects)]
