"""The executor of DataGate: applies the limits and stops the run if one is exceeded."""

from __future__ import annotations

import json
import logging
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

import storage
from components.data_audit.artifact import AUDIT_JSON, AUDIT_PAGE
from components.data_gate.artifact import GATE_JSON
from components.data_gate.limits import GateLimits
from components.data_gate.rules import (
    WARNING,
    DataGateError,
    Rule,
    anomaly_rules,
    audit_rules,
    count_rules,
    ingest_rules,
    line,
    message,
    verdict,
)
from components.xray_example_gen.artifact import REPORT_FILE

ANOMALIES_KEY = 'anomalies'
AUDIT_KEY = 'audit'
INGEST_REPORT_KEY = 'ingest_report'
BLESSING_KEY = 'blessing'
LIMITS_KEY = 'limits'
CODE_DIGEST_KEY = 'code_digest'
BLESSED_PROPERTY = 'blessed'

_log = logging.getLogger(__name__)


class Executor(BaseExecutor):
    """Applies the limits to anomalies, audit and ingestion report."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `gate.json` and logs every warning.

        Raises:
          DataGateError: a limit is exceeded, or an input cannot be read. In the first case it
            writes `gate.json` before, also to a folder that TFX keeps.
          pydantic.ValidationError: the limits are not valid.
        """
        limits = GateLimits.model_validate_json(exec_properties[LIMITS_KEY] or '{}')
        audit_folder = artifact_utils.get_single_uri(input_dict[AUDIT_KEY])
        page = f'{audit_folder}/{AUDIT_PAGE}'
        rules: list[Rule] = anomaly_rules(_read_anomalies(input_dict[ANOMALIES_KEY]), limits)
        audit = _read_json(f'{audit_folder}/{AUDIT_JSON}')
        rules += audit_rules(audit, limits)
        for report in input_dict.get(INGEST_REPORT_KEY) or ():
            ingest = _read_json(f'{report.uri}/{REPORT_FILE}')
            rules += ingest_rules(ingest)
            rules += count_rules(audit, ingest)
        content = verdict(rules, limits, page)
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING_KEY])
        _write(blessing.uri, content)
        blessing.set_int_custom_property(BLESSED_PROPERTY, int(content['blessed']))
        for rule in rules:
            if rule.verdict == WARNING:
                _log.warning('%s', line(rule))
        if not content['blessed']:
            raise DataGateError(message(rules, page, self._keep(content)))
        _log.debug('%(passed)d rules passed, %(warning)d warnings', content['counts'])

    def _keep(self, content: dict[str, Any]) -> str:
        """Writes a failed verdict to a lasting folder; returns its path, '' without such a folder.

        TFX deletes the outputs of a failed execution.
        """
        folder = self._context.stateful_working_dir if self._context else None
        if not folder:
            return ''
        _write(folder, content)
        return f'{folder}/{GATE_JSON}'


def _write(folder: str, content: dict[str, Any]) -> None:
    storage.make_dirs(folder)
    storage.write_text(
        storage.join(folder, GATE_JSON), json.dumps(content, indent=1, allow_nan=False)
    )


def _read_anomalies(artifacts: list[Artifact]) -> dict[str, anomalies_pb2.Anomalies]:
    anomalies = {}
    for artifact in artifacts:
        for split in artifact_utils.decode_split_names(artifact.split_names):
            path = f'{artifact_utils.get_split_uris([artifact], split)[0]}/{DEFAULT_FILE_NAME}'
            anomalies[split] = anomalies_pb2.Anomalies.FromString(_read(path))
    return anomalies


def _read_json(path: str) -> dict[str, Any]:
    try:
        return json.loads(_read(path))
    except ValueError as error:
        raise DataGateError(
            f'{path} is not valid JSON ({error}): run the component that writes it again'
        ) from None


def _read(path: str) -> bytes:
    if not storage.exists(path):
        raise DataGateError(f'{path} is missing: run the component that writes it again')
    return storage.read_bytes(path)
