"""The executor of Evaluator: TFX's own, with an optional baseline and models run as served.

It also keeps the predictions, and pictures of some images for the gallery.
"""

from __future__ import annotations

import logging
from typing import Any

from tfx import types
from tfx.components.evaluator import executor as tfx_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils, path_utils

import storage
from components.baseline.executor import has_model
from components.evaluator import expert_labels, gallery_writer, prediction_writer, served_model
from components.pusher import blessed

_LOGGER = logging.getLogger(__name__)


class Executor(tfx_executor.Executor):
    """Runs models as TF Serving does, see `served_model`, and keeps what they predict.

    After the evaluation, it writes the gallery.

    It drops an empty baseline, so that TFX treats the run as the first one and ignores change
    thresholds.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `tfx.components.Evaluator`.

        The custom property `blessed.MODEL` of the blessing identifies the evaluated files.

        Raises:
          TargetError: the artifact of the baseline is damaged.
          MetadataError: the table of experts' labels cannot be used.
        """
        baselines = input_dict.get(standard_component_specs.BASELINE_MODEL_KEY)
        if baselines is not None and not any(has_model(baseline) for baseline in baselines):
            _LOGGER.info('No baseline: only value thresholds are checked.')
            input_dict = {
                key: value
                for key, value in input_dict.items()
                if key != standard_component_specs.BASELINE_MODEL_KEY
            }
        blessing = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.BLESSING_KEY]
        )
        # Take the digest before the evaluation: if the model is overwritten meanwhile, Pusher
        # notices it.
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        blessing.set_string_custom_property(blessed.MODEL, blessed.model_digest(model))
        evaluation = artifact_utils.get_single_uri(
            output_dict[standard_component_specs.EVALUATION_KEY]
        )
        experts = exec_properties.get('expert_labels')
        # Read before the evaluation: an error shows at once.
        comparison = expert_labels.load(experts) if experts else None
        (split,) = json_utils.loads(exec_properties[standard_component_specs.EXAMPLE_SPLITS_KEY])
        with prediction_writer.writing_to(evaluation, split):
            super().Do(
                input_dict,
                output_dict,
                {
                    **exec_properties,
                    standard_component_specs.MODULE_PATH_KEY: served_model.__name__,
                },
            )
        if comparison:
            comparison.write(evaluation)
        uris = artifact_utils.get_split_uris(
            input_dict[standard_component_specs.EXAMPLES_KEY], split
        )
        gallery_writer.write(
            evaluation,
            [storage.join(uri, name) for uri in uris for name in storage.names(uri)],
            path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model)),
        )
