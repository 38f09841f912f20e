"""Runs the pipeline on this machine, step by step, in this process.

TFX's LocalDagRunner does the same without telling how far it is, which steps came from the cache,
or what each one gave; this one stands on the same launcher.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import os
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from google.protobuf.message import DecodeError
from ml_metadata import errors
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import execution_lib

from components import beam_batches
from pipeline import artifact_files, metadata_file
from pipeline.run_root import RunRoot


class StepError(RuntimeError):
    """A step failed; `__cause__` is what it raised, or what is wrong with its inputs, its outputs
    or the metadata store.
    """

    def __init__(self, step: str):
        super().__init__(f'step {step} failed')
        self.step = step


@dataclasses.dataclass(frozen=True)
class Step:
    """What became of a component: `state` is 'ran' or 'cached', `seconds` what it took now,
    `outputs` its artifacts by key.
    """

    name: str
    state: str
    seconds: float
    outputs: dict[str, list[types.Artifact]]


class Display(Protocol):
    """Told of each step as it happens."""

    def begin(self, name: str, number: int, of: int) -> None:
        """A step is about to run."""

    def end(self, step: Step) -> None:
        """A step is done."""

    def fail(self, name: str, seconds: float) -> None:
        """A step raised."""


def metadata_config(root: str):
    """The connection of the metadata store under a root."""
    path = RunRoot(root).store
    os.makedirs(root, exist_ok=True)
    return metadata.sqlite_metadata_connection_config(path)


class _Launcher(launcher.Launcher):
    """TFX's launcher, but for inputs and outputs: a step reads what the steps before it wrote, and
    nothing else.
    """

    # While it is false, what is raised comes from the metadata store and not from the step.
    _at_work = False

    def launch(self):
        try:
            return super().launch()
        except (errors.StatusError, DecodeError, LookupError, TypeError) as error:
            # MLMD and protobuf do not name the file that they could not use.
            if self._at_work or metadata_file.is_refused(error):
                raise
            path = self._mlmd_connection.connection_config.sqlite.filename_uri
            raise metadata_file.damaged(path, f'{type(error).__name__}: {error}') from error

    def _run_executor(self, execution_info):
        self._at_work = True
        artifact_files.check(execution_info.input_dict)
        try:
            output = super()._run_executor(execution_info)
        except Exception:
            artifact_files.check_records(execution_info.input_dict)
            raise
        artifact_files.note(execution_info.output_dict)
        self._at_work = False
        return output


def _nothing_more(steps: dict[str, Step]) -> None:
    """Accepts every step."""


def run(
    pipeline: Pipeline,
    display: Display,
    run_id: str,
    check: Callable[[dict[str, Step]], None] = _nothing_more,
) -> Iterator[Step]:
    """Runs all components in order and yields what became of each.

    Args:
      pipeline: with a metadata connection.
      display: told of each step.
      run_id: names the run in the metadata store.
      check: called with all steps that are done, the last one new, cached or not; what it raises
        ends the run.

    Raises:
      StepError: a component raised; what was done before stays in the cache.
      metadata_file.StoreError: the metadata store is damaged.
    """
    beam_batches.prepare()
    compiled = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(
        compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    deployment = runner_utils.extract_local_deployment_config(compiled)
    connection = getattr(
        deployment.metadata_connection_config,
        deployment.metadata_connection_config.WhichOneof('connection_config'),
    )
    _prepare_store(connection, compiled.runtime_spec.pipeline_root.field_value.string_value)
    nodes = [node.pipeline_node for node in compiled.nodes]
    # What has been imported stays: to look through all of it after each step would take longer than
    # some steps do.
    gc.freeze()
    steps: dict[str, Step] = {}
    for number, node in enumerate(nodes):
        name = node.node_info.id
        display.begin(name, number, len(nodes))
        start = time.monotonic()
        try:
            execution = _Launcher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=compiled.pipeline_info,
                pipeline_runtime_spec=compiled.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            ).launch()
            if execution is None or execution.execution_id is None:
                raise RuntimeError('TFX did not run it')
            step = steps[name] = _describe(
                connection, name, execution.execution_id, time.monotonic() - start
            )
            check(steps)
        except Exception as error:
            display.fail(name, time.monotonic() - start)
            raise StepError(name) from error
        if step.state == 'ran':
            _give_back_memory()
        display.end(step)
        yield step


def _prepare_store(connection, artifacts: str) -> None:
    """Checks and copies the metadata store, and makes it fit the artifacts that are there.

    Raises:
      metadata_file.StoreError: it is damaged.
    """
    path = connection.sqlite.filename_uri
    metadata_file.check(path)
    metadata_file.back_up(path)
    try:
        # Makes the tables of a new store.
        with metadata.Metadata(connection):
            pass
    except errors.StatusError as error:
        if metadata_file.is_refused(error):
            raise
        raise metadata_file.damaged(path, error) from error
    metadata_file.number_from_here(path, artifacts)
    metadata_file.adopt_artifacts(path, artifacts)


def _give_back_memory() -> None:
    """Hands the system what a step has freed. The C library keeps it for later, in pieces that the
    next step cannot use whole: what the largest step takes would come on top of what was left of
    all before it."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), 'malloc_trim', None):  # glibc only
        trim(0)


def _describe(connection, name: str, execution_id: int, seconds: float) -> Step:
    with metadata.Metadata(connection) as store:
        (execution,) = store.store.get_executions_by_id([execution_id])
        outputs = {
            key: list(artifacts)
            for key, artifacts in execution_lib.get_output_artifacts(store, execution_id).items()
        }
    state = execution.last_known_state
    if state not in (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED):
        # The launcher publishes some failures (inputs that cannot be resolved) without raising.
        raise RuntimeError(
            f'its execution ended in state {metadata_store_pb2.Execution.State.Name(state)}'
        )
    return Step(
        name, 'cached' if state == metadata_store_pb2.Execution.CACHED else 'ran', seconds, outputs
    )
