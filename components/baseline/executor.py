"""The work of Baseline."""

from __future__ import annotations

import logging
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, path_utils

import storage
from components.pusher import target

_LOGGER = logging.getLogger(__name__)
HAS_MODEL = 'has_model'
VERSION = 'served_version'
MODEL_DIGEST = 'model_digest'
# The file that stands for no baseline: an empty folder may also be one that has lost its files.
NOTHING_SERVED = 'NOTHING_SERVED'


class Executor(base_executor.BaseExecutor):
    """Copies a served version, with its manifest, into a Model artifact."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `component.Baseline`. `model` gets the custom properties has_model 0/1,
        served_version and model_digest.

        Raises:
          target.TargetError: the version is not in the target, or its files are not those that were
            pushed.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(output_dict[standard_component_specs.MODEL_KEY])
        version = exec_properties['version']
        if version == target.NO_VERSION:
            io_utils.write_string_file(os.path.join(model.uri, NOTHING_SERVED), '')
            model.set_int_custom_property(HAS_MODEL, 0)
            _LOGGER.info('Nothing is served yet: the candidate is judged without a baseline.')
            return
        manifest = _copy_version(
            exec_properties['target'], version, path_utils.serving_model_path(model.uri)
        )
        model.set_int_custom_property(HAS_MODEL, 1)
        model.set_string_custom_property(VERSION, version)
        model.set_string_custom_property(MODEL_DIGEST, manifest.model_digest)


def has_model(model: types.Artifact) -> bool:
    """Whether the artifact of Baseline holds a model; False when nothing was served.

    The files are asked, since not every runner hands custom properties on.

    Raises:
      target.TargetError: the files are neither a whole served version nor the mark of none.
    """
    if storage.exists(storage.join(model.uri, NOTHING_SERVED)):
        return False
    try:
        problems = target.verify(
            path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        )
    except target.TargetError as error:
        problems = [str(error)]
    if problems:
        raise target.TargetError(
            'the copy of the served model that the candidate is to be compared with, '
            f'{model.uri}, is damaged: {"; ".join(problems)}. '
            'Delete that folder and run again: Baseline then makes it anew'
        )
    return True


def _copy_version(directory: str, version: str, destination: str) -> target.Manifest:
    path = storage.join(directory, version)
    if not storage.names(path):
        there = ', '.join(served.version for served in target.versions(directory)) or 'none'
        raise target.TargetError(
            f'version {version} is not in {directory} any more (there: {there}): run again, so '
            'that what is served now is the baseline'
        )
    manifest = target.read_manifest(path)
    for name in manifest.files:
        if storage.exists(storage.join(path, name)):
            storage.copy(storage.join(path, name), storage.join(destination, name))
    # The copy is checked and not the original, which may be deleted by a push while it is read.
    problems = target.differences(manifest.files, target.digests(destination))
    if problems:
        raise target.TargetError(
            f'version {version} in {directory} is not what was pushed: {"; ".join(problems)}; '
            'run again: the run says how to repair the version, or repairs it'
        )
    target.write_manifest(destination, manifest)
    return manifest
