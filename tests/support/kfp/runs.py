"""Runs of a pipeline: the work of the API server and Argo around driver and launcher."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.kubeflow import submission, validation, versions
from pipeline.kubeflow.validation import Spec
from tests.support.kfp import driver
from tests.support.kfp.driver import DriverError, Run
from tests.support.kfp.launcher import Attempt, AttemptError, launch
from tests.support.kfp.metadata import CACHED, COMPLETE, FAILED, Artifact, Execution, Metadata
from tests.support.kfp.objects import ObjectStore
from tests.support.kfp.pods import PodRunner

_TAIL = 40


@dataclasses.dataclass
class Step:
    """A step of a run and its result.

    Attributes:
      name: of the step.
      executor_input: from the driver.
      state: COMPLETE, CACHED or FAILED.
      logs: a file for each attempt.
      outputs: output -> artifact.
      seconds: how long all attempts took, including the copying.
    """

    name: str
    executor_input: dict[str, Any]
    state: str
    logs: list[Path]
    outputs: dict[str, Artifact]
    seconds: float = 0.0


class RunError(Exception):
    """A step failed for good, and with it the run; the message has the end of its log.

    Attributes:
      steps: the steps that have started.
    """

    def __init__(self, message: str, steps: list[Step]):
        super().__init__(message)
        self.steps = steps

    @property
    def step(self) -> Step:
        """The step that failed."""
        return self.steps[-1]


def load(path: Path) -> tuple[Spec, Spec]:
    """Reads the pipeline specification and the platform specification of a file.

    A file without a platform specification gives an empty one.

    Raises:
      DriverError: the file is not a specification, or has something that is not supported here.
    """
    try:
        spec, *platform = submission.load(str(path))
    except submission.SubmissionError as error:
        raise DriverError(str(error)) from None
    driver.check(spec)
    return spec, platform[0] if platform else {}


class Cluster:
    """Stands for a cluster: object store, metadata and cache stay in a folder from run to run.

    Args:
      folder: for all of these, and for logs.
      runner: runs the commands.
      claims: persistent volume claim -> its local folder.
      version: of Kubeflow Pipelines; decides the rules for retries.
      wait: sleeps; tests pass something quicker.
      new_id: makes ids.
    """

    def __init__(
        self,
        folder: Path,
        runner: PodRunner,
        claims: Mapping[str, Path] | None = None,
        version: str = versions.NEWEST,
        wait: Callable[[float], None] = time.sleep,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ):
        self.folder = folder.resolve()
        self.store = ObjectStore(self.folder / 'store')
        self.metadata = Metadata(self.folder / 'metadata.json')
        self._runner, self._claims = (
            runner,
            {name: path.resolve() for name, path in (claims or {}).items()},
        )
        self._retries_failed_steps = versions.retries_failed_steps(version)
        self._wait, self._new_id = wait, new_id

    def submit(
        self,
        documents: tuple[Spec, Spec],
        root: str,
        parameters: Mapping[str, Any] | None = None,
        on_step: Callable[[Step], None] = lambda step: None,
    ) -> list[Step]:
        """Runs a pipeline, one step after the other, and returns the steps.

        Args:
          documents: from `load`.
          root: the pipeline root.
          parameters: in place of the defaults.
          on_step: called after each step.

        Raises:
          DriverError: the run is refused.
          PodError: a step cannot start here.
          RunError: a step failed in all its attempts.
        """
        spec, platform = documents
        if problem := validation.root_problem(root):
            raise DriverError(problem)
        self._check_claims(spec, platform)
        now = datetime.datetime.now(datetime.timezone.utc)
        run = Run(
            spec,
            self._new_id(),
            root,
            driver.parameters_of(spec, parameters or {}),
            f'{now:%Y-%m-%dT%H:%M:%SZ}',
        )
        steps: list[Step] = []
        for name in driver.sequence(driver.waits_for(run)):
            step = self._step(run, platform, name, {step.name: step.outputs for step in steps})
            steps.append(step)
            on_step(step)
            if step.state == FAILED:
                raise RunError(_failure(step), steps)
        return steps

    def _check_claims(self, spec: Spec, platform: Spec) -> None:
        """Refuses a run that could not mount its claims, before its first step.

        Raises:
          DriverError: a claim has no folder, or the folder does not exist.
        """
        labels = [
            spec['components'][task['componentRef']['name']]['executorLabel']
            for task in spec['root']['dag']['tasks'].values()
        ]
        claims = {
            claim: None for label in labels for claim in driver.claims_of(platform, label).values()
        }
        problems = []
        for claim in claims:
            if claim not in self._claims:
                problems.append(
                    f'steps mount the claim {claim}, which has no folder: give one with '
                    f'--claim {claim}=FOLDER'
                )
            elif not self._claims[claim].is_dir():
                problems.append(
                    f'{self._claims[claim]}, the folder of the claim {claim}, does not exist: '
                    'create it or give another (the user of the image needs write permission for '
                    'the push directory)'
                )
        if problems:
            raise DriverError('\n'.join(problems))

    def _step(
        self, run: Run, platform: Spec, name: str, published: Mapping[str, dict[str, Artifact]]
    ) -> Step:
        executor_input = driver.executor_input(run, name, published, self._new_id())
        mounts = driver.claims_of(platform, run.component(name)['executorLabel'])
        key = (
            driver.fingerprint(run, name, executor_input, mounts.values())
            if driver.uses_cache(run, name)
            else ''
        )
        cached = self.metadata.cached(run.pipeline, key) if key else None
        if cached is not None:
            # The artifacts keep their ids, so that the key of the next step stays the same
            # (v2/driver/cache.go:33).
            step = Step(name, executor_input, CACHED, [], self.metadata.outputs(cached))
        else:
            started = time.monotonic()
            step = self._attempts(
                run,
                name,
                executor_input,
                {mount: self._claims[claim] for mount, claim in mounts.items()},
            )
            step.seconds = time.monotonic() - started
        numbers = {output: artifact.number for output, artifact in step.outputs.items()}
        self.metadata.publish(Execution(run.run_id, name, step.state, run.pipeline, key, numbers))
        return step

    def _attempts(
        self, run: Run, name: str, executor_input: dict[str, Any], volumes: Mapping[str, Path]
    ) -> Step:
        """Makes all attempts at a step, each with the same input in a new pod."""
        waits = retry_waits(run.tasks[name].get('retryPolicy'))
        step = Step(name, executor_input, FAILED, [], {})
        folder = self.folder / 'runs' / run.run_id / name
        folder.mkdir(parents=True)
        started = time.monotonic()
        for number in range(len(waits.seconds) + 1):
            scratch = folder / f'pod-{number}'
            log = folder / f'attempt-{number}.log'
            pod = f'cxr-{run.run_id[:8]}-{name.lower()}-{number}'
            attempt = Attempt(
                pod,
                number,
                run.container(name),
                run.component(name),
                copy.deepcopy(executor_input),
                run.session,
                volumes,
                scratch,
                log,
            )
            step.logs.append(log)
            try:
                step.outputs = launch(attempt, self._runner, self.store, self.metadata)
                step.state = COMPLETE
                return step
            except AttemptError as error:
                with log.open('a', encoding='utf-8') as file:
                    file.write(f'\n{error}\n')
                step.outputs = error.outputs
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            if (
                not self._retries_failed_steps
                or number == len(waits.seconds)
                or time.monotonic() - started > waits.longest_s
            ):
                break
            self._wait(waits.seconds[number])
        return step


@dataclasses.dataclass(frozen=True)
class Waits:
    """Seconds before each retry, and from the first attempt's start to the last possible retry."""

    seconds: list[float]
    longest_s: float


def retry_waits(policy: Mapping[str, Any] | None) -> Waits:
    """The waits that Argo derives from a retry policy.

    v2/compiler/argocompiler/container.go:667; argoproj/argo-workflows, processNodeRetries

    Raises:
      DriverError: Argo cannot read the policy.
    """
    if policy is None:
        return Waits([], 0)
    factor = policy.get('backoffFactor', 0)
    if factor != int(factor):
        raise DriverError(f'retryPolicy.backoffFactor is {factor}: Argo takes whole numbers only')
    first = _seconds(policy.get('backoffDuration', '0s'))
    count = int(policy.get('maxRetryCount', 0))
    # Without a maximal duration Kubeflow writes 0, and Argo does not retry
    # (v2/compiler/argocompiler/container.go:410).
    return Waits(
        [first * (int(factor) ** number if factor else 1) for number in range(count)],
        _seconds(policy.get('backoffMaxDuration', '0s')),
    )


def _seconds(duration: str) -> float:
    return float(duration.removesuffix('s'))


def _failure(step: Step) -> str:
    lines = step.logs[-1].read_text(encoding='utf-8', errors='replace').rstrip().splitlines()
    attempts = f'{len(step.logs)} attempt{"s" if len(step.logs) > 1 else ""}'
    return '\n'.join(
        [
            f'step {step.name} failed after {attempts}. The end of {step.logs[-1]}:',
            *(f'  {line}' for line in lines[-_TAIL:]),
        ]
    )
