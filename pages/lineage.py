"""The origin of a served version in the metadata store, and the differences between two runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from typing import Any

from components.pusher import target
from components.pusher.target import ServedVersion, TargetError
from components.xray_example_gen.artifact import REPORT_FILE
from pages.runs import PUSHED, SERVED, Run
from pages.store import Artifact, Execution, Store
from pipeline.run_root import RunRoot
from pipeline.steps import CURATED_SCHEMA, INGESTION, PUSHER, TRAINER

# Starts the key of each fact that is a setting.
SETTING = 'config.'
_CODE_DIGEST, _CUSTOM = 'code_digest', 'custom_config'


@dataclasses.dataclass(frozen=True)
class Link:
    """An execution that a version depends on, with its input and output artifacts."""

    execution: Execution
    inputs: tuple[tuple[str, Artifact], ...]
    outputs: tuple[tuple[str, Artifact], ...]


def trace(store: Store, artifact: int) -> list[Link]:
    """All executions that an artifact depends on, in the order in which they ran."""
    links: dict[int, Link] = {}

    def visit(number: int) -> None:
        producer = store.producers.get(number)
        if producer is None or producer.id in links:
            return
        for ids in producer.inputs.values():
            for input_number in ids:
                visit(input_number)
        links[producer.id] = link(store, producer)

    visit(artifact)
    return list(links.values())


def served_version(run: Run) -> ServedVersion | None:
    """The version with the model of a run, which can be an old one; None if it was not pushed."""
    if run.state not in (PUSHED, SERVED):
        return None
    pushed = run.artifact(PUSHER.name, 'pushed_model')
    if pushed is None:  # the metadata store was deleted or replaced
        return None
    version, path = (
        str(pushed.properties.get('pushed_version', '')),
        str(pushed.properties.get('pushed_destination', '')),
    )
    # In a copied root the version is under the new root. The artifact has deleted versions.
    own = str(RunRoot(run.root).serving / version)
    path = next(
        (folder for folder in (own, path) if version and os.path.isdir(folder)), pushed.path
    )
    try:
        manifest = target.read_manifest(path)
    except TargetError:
        manifest = None
    return ServedVersion(version, path, manifest)


def condition(version: ServedVersion) -> str:
    """Whether a version still exists as it was pushed, as text."""
    if not os.path.isdir(version.path):
        return 'it no longer exists'
    if version.manifest is None:
        return 'its manifest is missing or damaged'
    try:
        problems = target.verify(version.path)
    except TargetError as error:
        return str(error)
    return (
        f'it differs from what was pushed: {"; ".join(problems)}'
        if problems
        else 'all files are as pushed'
    )


def facts(run: Run) -> dict[str, str]:
    """Everything that defines a run, as flat keys and texts that can be compared."""
    facts_by_key: dict[str, Any] = {SETTING + key: value for key, value in _flat(run.config)}
    for step, execution in run.executions.items():
        if digest := code_digest(execution):
            facts_by_key[f'code.{step}'] = digest
    parameters = run.parameters(INGESTION.name)
    facts_by_key['data.fingerprint'] = parameters.get('fingerprint')
    facts_by_key['task'] = parameters.get('task')
    ingest = run.json(INGESTION.name, 'report', REPORT_FILE) or {}
    for split, counts in ingest.get('splits', {}).items():
        facts_by_key[f'examples.{split}'] = (
            f'{counts["records"]:,} images, {counts["patients"]:,} patients, '
            f'{counts["positives"]:,} positive'
        )
    if schema := run.path(CURATED_SCHEMA.name, 'schema', 'schema.pbtxt'):
        with open(schema, 'rb') as file:
            facts_by_key['schema'] = hashlib.sha256(file.read()).hexdigest()[:16]
    weights = (
        _custom(run.executions[TRAINER.name]).get('weights_digest')
        if TRAINER.name in run.executions
        else None
    )
    facts_by_key['weights'] = weights or None
    facts_by_key['started_from'] = started_from(run)
    model = run.model_info or {}
    facts_by_key['model'] = model.get('model_version')
    facts_by_key['operating_point'] = (
        f'{model["operating_point"]["threshold"]:.6f}' if 'operating_point' in model else None
    )
    version = served_version(run)
    facts_by_key['served_version'] = version.version if version else None
    if version and version.manifest:
        facts_by_key['packages'] = ', '.join(
            f'{name} {value}' for name, value in sorted(version.manifest.packages.items())
        )
        facts_by_key['baseline_version'] = version.manifest.baseline_version
    return {
        key: _text(value)
        for key, value in sorted(facts_by_key.items())
        if value is not None and value != ''
    }


def difference(before: dict[str, str], after: dict[str, str]) -> list[tuple[str, str, str]]:
    """(fact, value before, value after) for each fact that differs.

    A setting that one configuration does not have counts, with the value ''. Another fact that only
    one run recorded does not: the other run ended before the step that records it.
    """
    have_settings = all(any(map(is_setting, facts)) for facts in (before, after))
    return [
        (key, before.get(key, ''), after.get(key, ''))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
        and (have_settings if is_setting(key) else key in before and key in after)
    ]


def is_setting(fact: str) -> bool:
    """Whether a fact of `facts` is a setting."""
    return fact.startswith(SETTING)


def link(store: Store, execution: Execution) -> Link:
    """An execution with its artifacts."""
    return Link(
        execution, _artifacts(store, execution.inputs), _artifacts(store, execution.outputs)
    )


def _artifacts(
    store: Store, ids_by_key: dict[str, tuple[int, ...]]
) -> tuple[tuple[str, Artifact], ...]:
    return tuple(
        (key, store.artifacts[number])
        for key, ids in sorted(ids_by_key.items())
        for number in ids
        if number in store.artifacts
    )


def started_from(run: Run) -> str:
    """The served version that the training of a run started from; '' if from none."""
    if TRAINER.name not in run.executions:
        return ''
    return str(_custom(run.executions[TRAINER.name]).get('warm_start') or '')


def _custom(execution: Execution) -> dict[str, Any]:
    try:
        return json.loads(execution.parameters.get(_CUSTOM) or '{}')
    except ValueError:
        return {}


def code_digest(execution: Execution) -> str:
    """The digest of the code that an execution ran; '' if it recorded none."""
    return str(execution.parameters.get(_CODE_DIGEST) or _custom(execution).get(_CODE_DIGEST) or '')


def _flat(content: Any, prefix: str = ''):
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _flat(value, f'{prefix}.{key}' if prefix else str(key))
    elif prefix:
        yield prefix, json.dumps(content)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
