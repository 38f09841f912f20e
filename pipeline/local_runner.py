"""Runs the pipeline on this machine, step by step, in this process.

TFX's LocalDagRunner uses the same launcher, but reports neither progress nor which steps came from
the cache nor the results of each step.
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
    """A step failed.

    `__cause__` is the error that it raised, or a problem with its inputs, its outputs or the
    metadata store.
    """

    def __init__(self, step: str):
        super().__init__(f'step {step} failed')
        self.step = step


@dataclasses.dataclass(frozen=True)
class Step:
    """The result of a component.

    Attributes:
      name: the id of the component.
      state: 'ran' or 'cached'.
      seconds: time that it took in this run.
      outputs: its artifacts by key.
    """

    name: str
    state: str
    seconds: float
    outputs: dict[str, list[types.Artifact]]


class Display(Protocol):
    """Shows the progress of a run."""

    def begin(self, name: str, number: int, total: int) -> None:
        """Shows that a step is about to run: number `number`, from 0, of `total`."""

    def end(self, step: Step) -> None:
        """Shows a step that is done."""

    def fail(self, name: str, seconds: float) -> None:
        """Shows a step that raised an error."""


def metadata_config(root: str):
    """The connection to the metadata store under a root."""
    path = RunRoot(root).store
    os.makedirs(root, exist_ok=True)
    return metadata.sqlite_metadata_connection_config(path)


class _Launcher(launcher.Launcher):
    """TFX's launcher, with a check that the files of each input are as their step wrote them."""

    # While it is False, errors come from the metadata store and not from the step.
    _executor_runs = False

    def launch(self):
        try:
            return super().launch()
        except (errors.StatusError, DecodeError, LookupError, TypeError) as error:
            # MLMD and protobuf do not name the file that they could not use.
            if self._executor_runs or metadata_file.is_refused(error):
                raise
            path = self._mlmd_connection.connection_config.sqlite.filename_uri
            raise metadata_file.damaged(path, f'{type(error).__name__}: {error}') from error

    def _run_executor(self, execution_info):
        self._executor_runs = True
        artifact_files.check(execution_info.input_dict)
        try:
            output = super()._run_executor(execution_info)
        except Exception:
            artifact_files.check_records(execution_info.input_dict)
            raise
        artifact_files.record(execution_info.output_dict)
        self._executor_runs = False
        return output


def _accept(steps: dict[str, Step]) -> None:
    """Accepts every step."""


def run(
    pipeline: Pipeline,
    display: Display,
    run_id: str,
    check: Callable[[dict[str, Step]], None] = _accept,
) -> Iterator[Step]:
    """Runs all components in order and yields the result of each.

    Args:
      pipeline: from `create_pipeline`, with a metadata connection.
      display: shows each step.
      run_id: the name of the run in the metadata store.
      check: is called after each step with all finished steps; the new one is the last. An error
        that it raises ends the run.

    Example:
        >>> with RunDisplay(Console()) as display:
        ...     steps = list(run(pipeline, display, '2026-11-30T10:00:00'))
        >>> steps[-1].name, steps[-1].state
        ('Pusher', 'ran')

    Raises:
      StepError: a component raised an error; the steps before it stay in the cache.
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
    # Imported modules stay in memory. Without this, each collection would go through all of them,
    # which takes longer than some steps.
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
            step = steps[name] = _result(
                connection, name, execution.execution_id, time.monotonic() - start
            )
            check(steps)
        except Exception as error:
            display.fail(name, time.monotonic() - start)
            raise StepError(name) from error
        if step.state == 'ran':
            _release_memory()
        display.end(step)
        yield step


def _prepare_store(connection, artifacts: str) -> None:
    """Checks and copies the metadata store, and adapts it to the artifacts on disk.

    Raises:
      metadata_file.StoreError: the store is damaged.
    """
    path = connection.sqlite.filename_uri
    metadata_file.check(path)
    metadata_file.back_up(path)
    try:
        # Creates the tables of a new store.
        with metadata.Metadata(connection):
            pass
    except errors.StatusError as error:
        if metadata_file.is_refused(error):
            raise
        raise metadata_file.damaged(path, error) from error
    metadata_file.skip_used_numbers(path, artifacts)
    metadata_file.adopt_artifacts(path, artifacts)


def _release_memory() -> None:
    """Returns the memory that a step has freed to the system.

    Otherwise the C library keeps it in fragments that the next step cannot use, and the largest
    step needs its memory on top of them.
    """
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), 'malloc_trim', None):  # glibc only
        trim(0)


def _result(connection, name: str, execution_id: int, seconds: float) -> Step:
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
