"""The executor of Pusher: checks the blessings and pushes the model."""

from __future__ import annotations

import datetime
import logging
from typing import Any

from tfx import types
from tfx.components.pusher import executor as tfx_executor
from tfx.types import artifact_utils, standard_component_specs

import storage
from components.pusher import blessed, push, target
from components.pusher.parameters import PushParameters

_LOGGER = logging.getLogger(__name__)


class Executor(tfx_executor.Executor):
    """Pushes the model of the infra blessing.

    TFX's executor decides what counts as blessed, and marks the result.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if it has both blessings, and copies the version into `pushed_model`.

        `pushed_model` gets TFX's custom properties `pushed`, `pushed_destination` and
        `pushed_version`, and `already_served`: 1 if the newest version already was this model.

        Raises:
          push.PushError: the target cannot be written, a model differs from the blessed one, or the
            model is served but the artifact cannot be written.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        parameters = PushParameters.model_validate_json(exec_properties['push'])
        pushed_model = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        stamped = self.GetModelPath(input_dict)
        _check_blessed_models(input_dict, stamped)
        measured = candidate_results(input_dict.get('evaluation'))
        run_id = (self._context.pipeline_run_id if self._context else None) or ''

        def make_manifest(
            version: str, model_digest: str, files: dict[str, target.FileDigest]
        ) -> target.Manifest:
            return target.Manifest(
                version=version,
                model_digest=model_digest,
                files=files,
                pipeline_name=parameters.pipeline_name,
                run_id=run_id,
                candidate_key=parameters.candidate_key,
                model_uri=model.uri,
                push_nonce=parameters.push_nonce,
                baseline_version=parameters.baseline_version or None,
                config=parameters.config,
                **measured,
                pushed_at=datetime.datetime.now(datetime.timezone.utc).isoformat(
                    timespec='seconds'
                ),
                packages=target.package_versions(),
            )

        pushed = push.publish(
            stamped,
            parameters.target,
            make_manifest,
            expected_newest=parameters.baseline_version,
            keep_versions=parameters.keep_versions,
        )
        try:
            for name in storage.files(pushed.path):
                storage.copy(storage.join(pushed.path, name), storage.join(pushed_model.uri, name))
        except OSError as error:
            raise push.PushError(
                f'version {pushed.version} is served from {pushed.path}, but its copy in '
                f'{pushed_model.uri} cannot be written: {error}. Free space there and run again: '
                'the model is not pushed twice'
            ) from error
        self._MarkPushed(
            pushed_model, pushed_destination=pushed.path, pushed_version=pushed.version
        )
        pushed_model.set_int_custom_property('already_served', int(pushed.already_served))

    def CheckBlessing(self, input_dict: dict[str, list[types.Artifact]]) -> bool:
        """Whether both Evaluator and ServingCheck blessed the model.

        Unlike in TFX, a missing blessing counts as a rejection.
        """
        for key in (
            standard_component_specs.MODEL_BLESSING_KEY,
            standard_component_specs.INFRA_BLESSING_KEY,
        ):
            if not input_dict.get(key):
                _LOGGER.warning('Nothing is pushed: the input %s is missing.', key)
                return False
        return super().CheckBlessing(input_dict)

    def GetModelPath(self, input_dict: dict[str, list[types.Artifact]]) -> str:
        """The path of the model with its warm-up file, in the infra blessing."""
        return super().GetModelPath(
            {
                key: value
                for key, value in input_dict.items()
                if key != standard_component_specs.MODEL_KEY
            }
        )


def _check_blessed_models(input_dict: dict[str, list[types.Artifact]], stamped: str) -> None:
    """Checks that the files in the artifacts are those that Evaluator and ServingCheck blessed.

    Raises:
      push.PushError: the files have changed.
    """
    model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
    model_blessing = artifact_utils.get_single_instance(
        input_dict[standard_component_specs.MODEL_BLESSING_KEY]
    )
    infra_blessing = artifact_utils.get_single_instance(
        input_dict[standard_component_specs.INFRA_BLESSING_KEY]
    )
    evaluated = blessed.model_digest(model)
    for validator, blessing, key, artifact, digest in (
        ('Evaluator', model_blessing, blessed.MODEL, model, evaluated),
        ('ServingCheck', infra_blessing, blessed.MODEL, model, evaluated),
        (
            'ServingCheck',
            infra_blessing,
            blessed.STAMPED,
            infra_blessing,
            target.model_digest(target.digests(stamped)),
        ),
    ):
        blessed_digest = blessing.get_string_custom_property(key)
        if blessed_digest != digest:
            blessed_text = (
                f'{blessed_digest[:12]}…' if blessed_digest else 'a model without a digest'
            )
            raise push.PushError(
                f'the model in {artifact.uri} is not the one that {validator} blessed: its files '
                f'have the digest {digest[:12]}…, blessed was {blessed_text}. Delete that folder '
                'and run again: the run then writes it again'
            )


def candidate_results(evaluation: list[types.Artifact] | None) -> dict[str, Any]:
    """The results of the candidate over all images, for the manifest.

    Returns:
      `metrics`: name -> value, None if it is undefined. `sensitivity_groups`: feature ->
      `components.evaluator.groups.Groups` as JSON, the groups behind the sensitivity gaps.
      `paired`: see `components.evaluator.paired.compare`. Empty without an evaluation.

    Raises:
      components.evaluator.results.EvaluationError: the evaluation cannot be read.
    """
    if not evaluation:
        return {}
    # Import here: it imports TFMA, which takes seconds.
    from components.evaluator import paired, predictions, results

    folder = artifact_utils.get_single_uri(evaluation)
    overall = results.read(folder, plots=False, overall_only=True).overall
    # An earlier release kept no predictions.
    answers = predictions.read(folder) if predictions.paths(folder) else None
    return {
        'paired': {} if answers is None else paired.compare(answers),
        'metrics': {
            name: value
            for (model, name), value in overall.values.items()
            if model == results.CANDIDATE
        },
        'sensitivity_groups': {
            feature: groups.model_dump(mode='json')
            for (model, feature), groups in overall.groups.items()
            if model == results.CANDIDATE
        },
    }
