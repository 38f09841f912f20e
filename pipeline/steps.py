"""The steps of the pipeline: their names, their order, and which of them are optional.

Does not import TensorFlow and TFX, so that commands, benchmarks and tests can import it quickly.
`pipeline.summary` has the text for the result of each step, under the same names.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class StepDefinition:
    """A step of the pipeline.

    Attributes:
      name: id of the component and name of its folder under `artifacts`.
      executor: the module that a pod imports to run it; '' for a step that only imports a file.
      optional: whether a run can omit the step.
    """

    name: str
    executor: str
    optional: bool = False


BASELINE = StepDefinition('Baseline', 'components.baseline.executor')
CURATED_SCHEMA = StepDefinition('CuratedSchema', '')
INGESTION = StepDefinition('XrayExampleGen', 'components.xray_example_gen.executor')
AUDIT = StepDefinition('DataAudit', 'components.data_audit.executor')
STATISTICS = StepDefinition('StatisticsGen', 'tfx.components.statistics_gen.executor')
VALIDATION = StepDefinition('ExampleValidator', 'tfx.components.example_validator.executor')
DATA_GATE = StepDefinition('DataGate', 'components.data_gate.executor')
TRANSFORM = StepDefinition('Transform', 'tfx.components.transform.executor')
TUNER = StepDefinition('Tuner', 'tfx.components.tuner.executor', optional=True)
TRAINER = StepDefinition('Trainer', 'tfx.components.trainer.executor')
EVALUATOR = StepDefinition('Evaluator', 'components.evaluator.executor')
SERVING_CHECK = StepDefinition('ServingCheck', 'components.serving_check.executor')
PUSHER = StepDefinition('Pusher', 'components.pusher.executor')

# In the order in which they run; a test compares this list with the compiled graph.
ALL = (
    BASELINE,
    CURATED_SCHEMA,
    INGESTION,
    AUDIT,
    STATISTICS,
    VALIDATION,
    DATA_GATE,
    TRANSFORM,
    TUNER,
    TRAINER,
    EVALUATOR,
    SERVING_CHECK,
    PUSHER,
)
NAMES = tuple(step.name for step in ALL)
# The steps of every run.
REQUIRED = tuple(step.name for step in ALL if not step.optional)
# The steps from the data files to the input of training.
DATA_PATH = NAMES[NAMES.index(CURATED_SCHEMA.name) : NAMES.index(TRANSFORM.name) + 1]
