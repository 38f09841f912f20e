"""The executor of ServingCheck: blesses a model that passes all checks, and adds a warm-up file."""

from __future__ import annotations

import datetime
import json
import logging
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, path_utils

import storage
from components.pusher import blessed, target
from components.serving_check import collect, launcher, session_probe, warmup, workspace
from components.serving_check.parameters import ServingCheckParameters

_LOGGER = logging.getLogger(__name__)
REPORT = 'serving_check.json'
# The names that TFX's InfraValidator uses, so that TFX's Pusher understands the blessing.
_BLESSED, _HAS_MODEL = 'blessed', 'has_model'
_BLESSED_FILE, _NOT_BLESSED_FILE = 'INFRA_BLESSED', 'INFRA_NOT_BLESSED'


class Executor(base_executor.BaseExecutor):
    """Runs the session probe on a copy of the model, and writes the blessing."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the model and writes the blessing.

        The blessing has `serving_check.json` (verdict, reasons, checks, latency, parameters), the
        file INFRA_BLESSED or INFRA_NOT_BLESSED and, if blessed, the model with its warm-up file.
        Its custom properties identify the files of both models, see `components.pusher.blessed`.

        Raises:
          samples.SamplesError: the Trainer's answers are missing, damaged, or of other images.
          launcher.ProbeError: the probe failed before it loaded the model.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        parameters = ServingCheckParameters.model_validate_json(exec_properties['parameters'])
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        model_run = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.MODEL_RUN_KEY]
        )
        blessing = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.BLESSING_KEY]
        )
        with workspace.folder() as folder:
            model_dir = os.path.join(folder, session_probe.MODEL)
            io_utils.copy_dir(
                path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model)),
                model_dir,
            )
            # The digest of the copy that is checked: the artifact may be overwritten meanwhile.
            blessing.set_string_custom_property(
                blessed.MODEL, target.model_digest(target.digests(model_dir))
            )
            collect.collect(
                model_run.uri,
                _example_files(input_dict[standard_component_specs.EXAMPLES_KEY]),
                folder,
                parameters.samples,
            )
            warmup.write(model_dir, parameters.model_name, parameters.warmup_batches)
            io_utils.write_string_file(
                os.path.join(folder, session_probe.PARAMETERS), parameters.model_dump_json()
            )
            result = launcher.run(folder, parameters)
            reasons = [
                f'{check["name"]}: {reason}'
                for check in result['checks']
                for reason in check['reasons']
            ]
            if not reasons:
                blessing.set_string_custom_property(
                    blessed.STAMPED, target.model_digest(target.digests(model_dir))
                )
                io_utils.copy_dir(model_dir, path_utils.stamped_model_path(blessing.uri))
        _mark(blessing, reasons)
        report = {
            'blessed': not reasons,
            'reasons': reasons,
            **result,
            'model_uri': model.uri,
            'parameters': parameters.model_dump(mode='json'),
            'checked_at': datetime.datetime.now(datetime.timezone.utc).isoformat(
                timespec='seconds'
            ),
        }
        io_utils.write_string_file(
            os.path.join(blessing.uri, REPORT), json.dumps(report, indent=2) + '\n'
        )


def _example_files(examples: list[types.Artifact]) -> list[str]:
    uris = artifact_utils.get_split_uris(examples, collect.SPLIT)
    return sorted(storage.join(uri, name) for uri in uris for name in storage.names(uri))


def _mark(blessing: types.Artifact, reasons: list[str]) -> None:
    blessed = not reasons
    io_utils.write_string_file(
        os.path.join(blessing.uri, _BLESSED_FILE if blessed else _NOT_BLESSED_FILE), ''
    )
    blessing.set_int_custom_property(_BLESSED, int(blessed))
    blessing.set_int_custom_property(_HAS_MODEL, int(blessed))
    for reason in reasons:
        _LOGGER.warning('ServingCheck does not bless the model: %s', reason)
