"""Presents the results of the steps of a run as text and tables, from their artifacts."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable

from rich.table import Table
from tfx.components.evaluator import constants as evaluator_constants
from tfx.types import artifact_utils

import storage
from components.baseline.executor import VERSION
from components.data_audit.artifact import AUDIT_JSON
from components.data_gate.artifact import GATE_JSON, counts_text
from components.evaluator import registry, results
from components.pusher import target as push_target
from components.xray_example_gen.artifact import REPORT_FILE
from pipeline import counts, steps
from pipeline.local_runner import Step
from pipeline.tables import plain_table
from trainer.artifacts import MODEL_INFO_FILE


def result(step: Step) -> str:
    """The result of a step in one line; '' for a step without counts."""
    describe = _RESULTS.get(step.name)
    return describe(step) if describe else ''


def steps_table(finished: Iterable[Step]) -> Table:
    """The table at the end of a run: step, time, state ('ran' or 'cached'), result."""
    table = plain_table('step', '>time', '', 'result')
    for step in finished:
        table.add_row(step.name, f'{step.seconds:.1f} s', step.state, result(step))
    return table


def blessed(evaluator: Step) -> bool:
    """Whether the Evaluator blessed the candidate."""
    blessing = artifact_utils.get_single_instance(evaluator.outputs['blessing'])
    return bool(blessing.get_int_custom_property(evaluator_constants.ARTIFACT_PROPERTY_BLESSED_KEY))


def serving_problems(serving_check: Step) -> list[str]:
    """Why ServingCheck did not bless the model; empty if it did."""
    return _json(serving_check, 'blessing', 'serving_check.json')['reasons']


@dataclasses.dataclass(frozen=True)
class Served:
    """The served version with a run's model.

    Attributes:
      path: the folder of the version.
      outcome: a sentence about the push.
      is_new: whether this run pushed it.
    """

    path: str
    outcome: str
    is_new: bool


def pushed(pusher: Step) -> Served | None:
    """The served version with the model of a run; None if the model was not pushed."""
    artifact = artifact_utils.get_single_instance(pusher.outputs['pushed_model'])
    if not artifact.get_int_custom_property('pushed'):
        return None
    path, version = (
        artifact.get_string_custom_property(f'pushed_{name}') for name in ('destination', 'version')
    )
    if pusher.state == 'cached':
        outcome = f'Nothing to do: version {version} has been served{_since(path)}.'
    elif artifact.get_int_custom_property('already_served'):
        outcome = (
            f'Nothing to push: version {version}, served{_since(path)}, is already this candidate.'
        )
    else:
        return Served(path, 'Pushed.', is_new=True)
    return Served(path, outcome, is_new=False)


def _since(version_dir: str) -> str:
    try:
        pushed_at = datetime.datetime.fromisoformat(
            push_target.read_manifest(version_dir).pushed_at
        )
    except (push_target.TargetError, ValueError):
        return ' before'
    return f' since {pushed_at:%Y-%m-%d %H:%M:%S} UTC'


def _json(step: Step, output: str, *path: str) -> dict:
    uri = artifact_utils.get_single_uri(step.outputs[output])
    return json.loads(storage.read_text(storage.join(uri, *path)))


def _ingest(step: Step) -> str:
    content = _json(step, 'report', REPORT_FILE)
    splits = ', '.join(f'{name} {split["records"]:,}' for name, split in content['splits'].items())
    unknown = (
        ', '.join(f'{name} {count:,}' for name, count in content.get('unknown', {}).items())
        if content.get('table')
        else ''
    )
    return (
        f'{content["records_in"]:,} records in, {content["quarantined"]:,} quarantined; {splits}; '
        f'{content["patients"]:,} patients' + (f'; unknown: {unknown}' if unknown else '')
    )


def _statistics(step: Step) -> str:
    examples = 0
    features: set[str] = set()
    for _, dataset in counts.split_statistics(step):
        examples += dataset.num_examples
        features.update(feature.path.step[0] for feature in dataset.features)
    return f'{examples:,} examples, {len(features)} features'


def _anomalies(step: Step) -> str:
    # Registers a message type that the diffs contain.
    from tensorflow_data_validation.anomalies.proto import validation_metadata_pb2  # noqa: F401
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    artifact = artifact_utils.get_single_instance(step.outputs['anomalies'])
    count = 0
    for split in artifact_utils.decode_split_names(artifact.split_names):
        path = storage.join(artifact.uri, f'Split-{split}', 'SchemaDiff.pb')
        count += len(anomalies_pb2.Anomalies.FromString(storage.read_bytes(path)).anomaly_info)
    return f'{count} {"anomaly" if count == 1 else "anomalies"}'


def _audit(step: Step) -> str:
    content = _json(step, 'audit', AUDIT_JSON)
    issues = [
        f'{issue["kind"]} {issue["count"]:,}' for issue in content['issues'] if issue['count']
    ]
    return f'{content["decoded"]:,} images decoded; ' + (', '.join(issues) or 'no issue')


def _gate(step: Step) -> str:
    return counts_text(_json(step, 'blessing', GATE_JSON)['counts'])


def _transform(step: Step) -> str:
    uri = artifact_utils.get_single_uri(step.outputs['transformed_examples'])
    size = sum(storage.stat(path).size for path in storage.glob(storage.join(uri, 'Split-*', '*')))
    return f'{size / 1e6:,.1f} MB of examples'


def _trainer(step: Step) -> str:
    facts = _json(step, 'model', 'Format-Serving', MODEL_INFO_FILE)
    point = facts['operating_point']
    return (
        f'{facts["backbone"]}, {facts["records"]["train"]["records"]:,} images; operating point '
        f'{point["threshold"]:.3f} for sensitivity '
        f'{point["target_sensitivity"]:g}'
    )


def _tuner(step: Step) -> str:
    values = _json(step, 'best_hyperparameters', 'best_hyperparameters.txt')['values']
    trials = len(_json(step, 'tuner_results', 'tuner_results.json'))
    return f'{trials} trials; ' + ', '.join(f'{name} {value:.3g}' for name, value in values.items())


def _baseline(step: Step) -> str:
    version = artifact_utils.get_single_instance(step.outputs['model']).get_string_custom_property(
        VERSION
    )
    if version:
        return f'served version {version}'
    return 'nothing served yet' if step.state == 'ran' else 'nothing was served at the time'


def _evaluator(step: Step) -> str:
    folder = artifact_utils.get_single_uri(step.outputs['evaluation'])
    overall = results.read(folder, plots=False, overall_only=True).overall
    figures = ', '.join(
        f'{name} {overall.value(name):.3f}'
        for name in registry.HEADLINE
        if overall.value(name) is not None
    )
    return f'{figures}; {"blessed" if blessed(step) else "not blessed"}'


def _serving_check(step: Step) -> str:
    problems = serving_problems(step)
    return f'not blessed: {problems[0]}' if problems else 'blessed'


def _pusher(step: Step) -> str:
    served = pushed(step)
    return served.path if served else 'not pushed'


# Step -> its result in one line; CuratedSchema has no counts.
_RESULTS = {
    steps.BASELINE.name: _baseline,
    steps.INGESTION.name: _ingest,
    steps.AUDIT.name: _audit,
    steps.STATISTICS.name: _statistics,
    steps.VALIDATION.name: _anomalies,
    steps.DATA_GATE.name: _gate,
    steps.TRANSFORM.name: _transform,
    steps.TUNER.name: _tuner,
    steps.TRAINER.name: _trainer,
    steps.EVALUATOR.name: _evaluator,
    steps.SERVING_CHECK.name: _serving_check,
    steps.PUSHER.name: _pusher,
}
