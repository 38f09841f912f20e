"""The lineage page: where a served version comes from, as a graph and as a table."""

from __future__ import annotations

import json
import os
from typing import Any

from pages import after_push, lineage, lineage_graph
from pages.lineage import Link
from pages.runs import Run
from pages.store import Artifact
from pipeline.steps import NAMES


def context(run: Run, earlier: Run | None) -> dict[str, Any]:
    """The values of the template lineage.html.

    Args:
      run: the run.
      earlier: the last run before it that served another model, for the comparison.
    """
    version = lineage.served_version(run)
    own_facts = lineage.facts(run)
    changes = lineage.difference(lineage.facts(earlier), own_facts) if earlier else []
    links = _links(run)
    return {
        'links': [_row(run, link) for link in links],
        'graph': lineage_graph.graph(
            run, links, version.version if version else '', _card_pages(earlier)
        ),
        'version': version,
        'condition': lineage.condition(version) if version else '',
        'manifest': version.manifest if version else None,
        'releases': after_push.rows(run.root, version) if version else [],
        'facts': list(own_facts.items()),
        'earlier': earlier,
        'changes': changes,
        'steps': [
            _row(run, lineage.link(run.store, execution)) for execution in run.executions.values()
        ],
    }


def _links(run: Run) -> list[Link]:
    """All executions behind the outputs of a run, and those that did not finish, in their order."""
    links: dict[int, Link] = {}
    for execution in run.executions.values():
        outputs = [number for ids in execution.outputs.values() for number in ids]
        for number in outputs:
            links |= {link.execution.id: link for link in lineage.trace(run.store, number)}
        if not outputs:
            links[execution.id] = lineage.link(run.store, execution)

    def order(link: Link) -> tuple[int, int]:
        step = link.execution.step
        return NAMES.index(step) if step in NAMES else len(NAMES), link.execution.id

    return sorted(links.values(), key=order)


def _card_pages(earlier: Run | None) -> dict[str, str]:
    """Version -> the model card of the run that served it, for the one before this run's."""
    version = lineage.served_version(earlier) if earlier else None
    return {version.version: f'../{earlier.slug}/model_card.html'} if earlier and version else {}


def _row(run: Run, link: Link) -> dict[str, Any]:
    execution = link.execution
    return {
        'id': execution.id,
        'step': execution.step,
        'state': execution.state,
        'run': execution.run,
        'elsewhere': execution.run != run.name,
        'when': f'{execution.started:%Y-%m-%d %H:%M:%S}',
        'seconds': f'{execution.seconds:.1f} s',
        'code': lineage.code_digest(execution),
        'inputs': [(key, artifact.id, _short(run, artifact)) for key, artifact in link.inputs],
        'outputs': [(key, artifact.id, _short(run, artifact)) for key, artifact in link.outputs],
        'parameters': [
            (key, _pretty(value))
            for key, value in execution.parameters.items()
            if value not in ('', None)
        ],
    }


def _short(run: Run, artifact: Artifact) -> str:
    """The path of an artifact, relative to the root."""
    return artifact.path.removeprefix(f'{run.root}{os.sep}')


def _pretty(value: Any) -> str:
    if isinstance(value, str) and value[:1] in '{[':
        try:
            return json.dumps(json.loads(value), indent=1, ensure_ascii=False)
        except ValueError:
            return value
    return str(value)
