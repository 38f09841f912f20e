"""The work of Pusher."""

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
    """Pushes the model of the infra blessing; TFX's Pusher decides what counts as blessed and how
    the result is marked.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `component.Pusher`.

        `pushed_model` gets TFX's custom properties `pushed`, `pushed_destination` and
        `pushed_version`, and `already_served`: 1 when the newest version was this model already. It
        holds a copy of the version.

        Raises:
          push.PushError: the target cannot be written, or a model is not the one that was blessed;
            or the model is served, but the artifact cannot be written.
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
                f'version {pushed.version} is served from {pushed.path}, but its copy for the '
                f'record of the run, {pushed_model.uri}, '
                f'cannot be written: {error}. Make room there and run again: nothing is pushed '
                'twice'
            ) from error
        self._MarkPushed(
            pushed_model, pushed_destination=pushed.path, pushed_version=pushed.version
        )
        pushed_model.set_int_custom_property('already_served', int(pushed.already_served))

    def CheckBlessing(self, input_dict: dict[str, list[types.Artifact]]) -> bool:
        """Whether both validators have blessed the model; unlike in TFX, a missing blessing is
        none.
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
        """The model with its warm-up file, out of the infra blessing and not out of `model`."""
        return super().GetModelPath(
            {
                key: value
                for key, value in input_dict.items()
                if key != standard_component_specs.MODEL_KEY
            }
        )


def _check_blessed_models(input_dict: dict[str, list[types.Artifact]], stamped: str) -> None:
    """Evaluator and ServingCheck must have blessed the very files that lie in their artifacts now.

    Raises:
      push.PushError: they are other files.
    """
    model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
    model_blessing = artifact_utils.get_single_instance(
        input_dict[standard_component_specs.MODEL_BLESSING_KEY]
    )
    infra_blessing = artifact_utils.get_single_instance(
        input_dict[standard_component_specs.INFRA_BLESSING_KEY]
    )
    evaluated = blessed.model_digest(model)
    for validator, blessing, key, holder, digest in (
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
        judged = blessing.get_string_custom_property(key)
        if judged != digest:
            raise push.PushError(
                f'the model in {holder.uri} is not the one that {validator} blessed: its files '
                f'have the digest {digest[:12]}…, '
                f'blessed was {f"{judged[:12]}…" if judged else "a model without a digest"}. '
                'Delete that folder and run again: what lies there is made anew'
            )


def candidate_results(evaluation: list[types.Artifact] | None) -> dict[str, Any]:
    """What the manifest says of the candidate over all images; {} without an evaluation.

    Returns:
      `metrics`: name -> value, None where it is not defined. `sensitivity_groups`: feature ->
      `components.evaluator.groups.Groups` as JSON: what the sensitivity gaps among the metrics
      compare and leave out.
    """
    if not evaluation:
        return {}
    # Here, as it imports TFMA, which takes seconds.
    from components.evaluator import results

    folder = artifact_utils.get_single_uri(evaluation)
    overall = results.read(folder, plots=False, overall_only=True).overall
    return {
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
