"""The history of served versions, for the model card."""

from __future__ import annotations

from typing import Any

from components.evaluator import registry
from components.pusher.target import Manifest, ServedVersion
from pages import lineage, verdict
from pages.card import VersionFacts, metric_fields
from pages.runs import Run

# Older versions are on the cards of older runs.
_VERSIONS = 10
_NONE = 'No run of this root has served a version yet.'
_NOTE = 'Those that runs of this root have served, up to this run; the newest first.'


def build(run: Run, older: list[Run]) -> dict[str, Any]:
    """The part `history` of the card.

    Args:
      run: the run of the card.
      older: the runs before it, newest first.
    """
    # A later run may produce the same version again: the run that pushed it comes last.
    runs: dict[str, tuple[Run, ServedVersion]] = {}
    for other in (run, *older):
        if version := lineage.served_version(other):
            runs[version.version] = (other, version)
    versions = list(runs.items())[: _VERSIONS + 1]
    earlier = [*(found[0] for _, found in versions[1:]), None]
    # None stands for the run before the first version. Without any version, it stands alone.
    facts = {
        number: _facts(*found, before)
        for (number, found), before in zip(versions, earlier, strict=False)
    }
    return {'note': _NOTE if facts else _NONE, 'versions': dict(list(facts.items())[:_VERSIONS])}


def _facts(run: Run, version: ServedVersion, before: Run | None) -> dict[str, Any]:
    manifest = version.manifest
    return {
        'pushed': _minute(manifest.pushed_at) if manifest else 'not recorded',
        'run': run.label,
        'changed': _changed(run, before),
        **{field: _interval(name, manifest) for field, name in metric_fields(VersionFacts).items()},
    }


def _minute(time: str) -> str:
    """ISO 8601 in UTC -> the minute, for people."""
    return f'{time[:16].replace("T", " ")} UTC'


def _changed(run: Run, before: Run | None) -> str:
    if before is None:
        return 'the first version'
    changes = lineage.difference(lineage.facts(before), lineage.facts(run))
    return '; '.join(verdict.change_texts(changes)) or 'nothing that the runs recorded'


def _interval(name: str, manifest: Manifest | None) -> dict[str, Any]:
    metrics = manifest.metrics if manifest else {}
    value = metrics.get(name)
    lower, upper = (metrics.get(f'{name}_{end}') for end in registry.ENDS)
    reason = 'not in the manifest of this version' if value is None else None
    return {'value': value, 'lower': lower, 'upper': upper, 'reason': reason}
