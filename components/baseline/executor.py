"""The executor of Baseline: copies a served version and verifies the copy."""

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
# This file marks an artifact without a model. An empty folder may have lost its files.
NOTHING_SERVED = 'NOTHING_SERVED'


class Executor(base_executor.BaseExecutor):
    """Copies a served version, with its manifest, into a Model artifact."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the artifact `model`.

        It gets the custom property `has_model`, 0 or 1. With a model, it also gets `served_version`
        and `model_digest`.

        Raises:
          target.TargetError: the version is not in the target, or its files differ from its
            manifest.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(output_dict[standard_component_specs.MODEL_KEY])
        version = exec_properties['version']
        if version == target.NO_VERSION:
            io_utils.write_string_file(os.path.join(model.uri, NOTHING_SERVED), '')
            model.set_int_custom_property(HAS_MODEL, 0)
            _LOGGER.info('No model is served yet: the candidate has no baseline.')
            return
        manifest = _copy_version(
            exec_properties['target'], version, path_utils.serving_model_path(model.uri)
        )
        model.set_int_custom_property(HAS_MODEL, 1)
        model.set_string_custom_property(VERSION, version)
        model.set_string_custom_property(MODEL_DIGEST, manifest.model_digest)


def has_model(model: types.Artifact) -> bool:
    """Whether the artifact of Baseline holds a model; False if no model was served.

    It looks at the files, because not every runner passes custom properties on.

    Raises:
      target.TargetError: the artifact is damaged: it is neither a complete served version nor
        marked as empty.
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
            f'the baseline in {model.uri} is damaged: {"; ".join(problems)}. '
            'Delete that folder and run again: Baseline then copies the served model again'
        )
    return True


def _copy_version(directory: str, version: str, destination: str) -> target.Manifest:
    path = storage.join(directory, version)
    if not storage.names(path):
        versions = ', '.join(served.version for served in target.versions(directory)) or 'none'
        raise target.TargetError(
            f'version {version} is no longer in {directory} (versions: {versions}): run again with '
            'the version that is served now as the baseline'
        )
    manifest = target.read_manifest(path)
    for name in manifest.files:
        if storage.exists(storage.join(path, name)):
            storage.copy(storage.join(path, name), storage.join(destination, name))
    # Check the copy: a push may delete the original meanwhile.
    problems = target.differences(manifest.files, target.digests(destination))
    if problems:
        raise target.TargetError(
            f'version {version} in {directory} differs from what was pushed: '
            f'{"; ".join(problems)}; run again: the run repairs the version or says how to'
        )
    target.write_manifest(destination, manifest)
    return manifest
