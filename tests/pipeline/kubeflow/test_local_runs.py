"""The rules of the interpreter: artifacts, metadata, cache, retries and failures of a run."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests.support import scripted_steps as scripted
from tests.support.kfp.driver import DriverError
from tests.support.kfp.runs import Cluster, RunError, Step, retry_waits
from tests.support.scripted_steps import Scripted, StepContext

ROOT = 'gs://bucket/runs'
RETRIES = {
    'maxRetryCount': 3,
    'backoffDuration': '2s',
    'backoffFactor': 3.0,
    'backoffMaxDuration': '3600s',
}


def _make(step: StepContext) -> None:
    step.write('thing', 'deep/file.txt', step.executor_input['inputs']['parameterValues']['text'])
    step.report({'thing': {'metadata': {'length': 5}}})


def _use(step: StepContext) -> None:
    step.write('thing', 'copy.txt', (step.folder('inputs', 'made') / 'deep/file.txt').read_text())


def _submit(
    folder: Path,
    steps: Scripted,
    spec: dict,
    platform: dict | None = None,
    claims: dict | None = None,
    **options,
) -> list[Step]:
    cluster = Cluster(folder, steps, claims, version='2.16', wait=lambda seconds: None)
    return cluster.submit((spec, platform or {}), ROOT, **options)


def _states(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.state for step in steps}


def test_a_step_reads_the_output_of_an_earlier_step(tmp_path: Path) -> None:
    _, use = _submit(
        tmp_path,
        Scripted(make=_make, use=_use),
        scripted.make_and_use(),
        parameters={'text': 'value'},
    )
    assert (
        tmp_path / 'store/gs' / use.outputs['thing'].uri.removeprefix('gs://') / 'copy.txt'
    ).read_text() == 'value'


def test_only_declared_artifacts_are_passed_on(tmp_path: Path) -> None:
    paths: list[str] = []

    def make(step: StepContext) -> None:
        _make(step)
        (step.folder('outputs', 'thing').parent / 'beside.txt').write_text('not declared')
        (step.folder('outputs', 'thing') / 'empty').mkdir()

    def use(step: StepContext) -> None:
        folder = step.folder('inputs', 'made').parent
        paths.extend(sorted(str(path.relative_to(folder)) for path in folder.rglob('*')))

    _submit(tmp_path, Scripted(make=make, use=use), scripted.make_and_use())
    # Buckets have no empty folders, and the launcher uploads only declared outputs.
    assert paths == ['thing', 'thing/deep', 'thing/deep/file.txt']


def test_an_output_that_was_not_written_does_not_exist(tmp_path: Path) -> None:
    exists: list[bool] = []
    _submit(
        tmp_path,
        Scripted(
            make=lambda step: None,
            use=lambda step: exists.append(step.folder('inputs', 'made').exists()),
        ),
        scripted.make_and_use(),
    )
    assert exists == [False]


def test_an_artifact_is_lost_if_the_report_has_its_local_path(tmp_path: Path) -> None:
    # This is why the entry point restores the URI of the store in TFX's report.
    is_local: list[bool] = []

    def make(step: StepContext) -> None:
        _make(step)
        path = step.artifact('outputs', 'thing')['uri'].replace('gs://', '/gcs/')
        step.report({'thing': {'uri': path}})

    def use(step: StepContext) -> None:
        is_local.append(step.artifact('inputs', 'made')['uri'].startswith('/gcs/'))

    _submit(tmp_path, Scripted(make=make, use=use), scripted.make_and_use())
    assert is_local == [True]
    assert not list((tmp_path / 'store').rglob('file.txt'))


def test_metadata_have_the_types_of_ml_metadata(tmp_path: Path) -> None:
    metadata: dict = {}

    def make(step: StepContext) -> None:
        step.report(
            {
                'thing': {
                    'metadata': {
                        'flag': True,
                        'share': 0.5,
                        'name': 'n',
                        'list': [1, 2],
                        'map': {'a': 1},
                    }
                }
            }
        )

    _submit(
        tmp_path,
        Scripted(
            make=make,
            use=lambda step: metadata.update(step.artifact('inputs', 'made')['metadata']),
        ),
        scripted.make_and_use(),
    )
    assert metadata.pop('display_name') == 'thing'
    assert '"Provider":"gs"' in metadata.pop('store_session_info')
    assert metadata == {
        'flag': 1,
        'share': 0.5,
        'name': 'n',
        'list': {'list': [1, 2]},
        'map': {'struct': {'a': 1}},
    }


@pytest.mark.parametrize(
    ('report', 'message'),
    [
        ({'metadata': {'nothing': None}}, "metadata 'nothing' is None"),
        ({'unknown': 1}, 'no field named "unknown"'),
    ],
    ids=['null', 'unknown field'],
)
def test_an_invalid_report_fails_the_step(tmp_path: Path, report: dict, message: str) -> None:
    with pytest.raises(RunError, match=message) as caught:
        _submit(
            tmp_path,
            Scripted(make=lambda step: step.report({'thing': report})),
            scripted.make_and_use(),
        )
    assert caught.value.step.name == 'make'


def test_an_unchanged_run_is_cached_and_keeps_its_artifacts(tmp_path: Path) -> None:
    steps = Scripted(make=_make, use=_use)
    first = _submit(tmp_path, steps, scripted.make_and_use())
    second = _submit(tmp_path, steps, scripted.make_and_use())
    assert _states(second) == {'make': 'CACHED', 'use': 'CACHED'}
    assert [step.outputs for step in second] == [step.outputs for step in first]
    assert steps.steps_run == ['make', 'use']


def _other_image(spec: dict) -> None:
    spec['deploymentSpec']['executors']['make-executor']['container']['image'] = 'test:2'


def _other_argument(spec: dict) -> None:
    spec['deploymentSpec']['executors']['make-executor']['container']['args'].append('--more')


def _other_default(spec: dict) -> None:
    spec['root']['inputDefinitions']['parameters']['text']['defaultValue'] = 'other'


def _other_type(spec: dict) -> None:
    spec['components']['make']['outputDefinitions']['artifacts']['thing']['artifactType'] = {
        'schemaTitle': 'system.Model'
    }


def _no_cache(spec: dict) -> None:
    spec['root']['dag']['tasks']['make']['cachingOptions'] = {}


@pytest.mark.parametrize(
    'change', [_other_image, _other_argument, _other_default, _other_type, _no_cache]
)
def test_a_change_runs_the_step_and_its_consumers(tmp_path: Path, change) -> None:
    steps = Scripted(make=_make, use=_use)
    _submit(tmp_path, steps, scripted.make_and_use())
    changed = scripted.make_and_use()
    change(changed)
    assert _states(_submit(tmp_path, steps, changed)) == {'make': 'COMPLETE', 'use': 'COMPLETE'}


def test_pipelines_do_not_share_a_cache(tmp_path: Path) -> None:
    _submit(tmp_path, Scripted(make=_make, use=_use), scripted.make_and_use())
    renamed = scripted.make_and_use()
    renamed['pipelineInfo']['name'] = 'other'
    assert set(_states(_submit(tmp_path, Scripted(make=_make, use=_use), renamed)).values()) == {
        'COMPLETE'
    }


def test_the_cache_depends_on_the_claim_and_not_on_its_files(tmp_path: Path) -> None:
    claims = {name: tmp_path / name for name in ('images', 'more')}
    for folder in claims.values():
        folder.mkdir()

    def platform(claim: str) -> dict:
        executors = {'make-executor': {'pvcMount': [{'constant': claim, 'mountPath': '/data'}]}}
        return {'platforms': {'kubernetes': {'deploymentSpec': {'executors': executors}}}}

    def make(step: StepContext) -> None:
        step.write('thing', 'deep/file.txt', str(len(list(step.path('/data/x').parent.iterdir()))))

    def run(claim: str) -> str:
        return _states(
            _submit(
                tmp_path / 'c',
                Scripted(make=make, use=_use),
                scripted.make_and_use(),
                platform(claim),
                claims,
            )
        )['make']

    assert run('images') == 'COMPLETE'
    (claims['images'] / 'new.tfrec').write_text('')
    assert run('images') == 'CACHED'
    assert run('more') == 'COMPLETE'
    with pytest.raises(
        DriverError,
        match=('mount the claim none, which has no folder: give one with --claim none=FOLDER'),
    ):
        run('none')
    (tmp_path / 'more').rmdir()
    with pytest.raises(
        DriverError,
        match='/more, the folder of the claim more, does not exist: create it',
    ):
        run('more')


def test_a_missing_folder_of_a_claim_is_reported_before_the_first_step(tmp_path: Path) -> None:
    executors = {'use-executor': {'pvcMount': [{'constant': 'served', 'mountPath': '/served'}]}}
    platform = {'platforms': {'kubernetes': {'deploymentSpec': {'executors': executors}}}}
    steps = Scripted(make=_make, use=_use)
    with pytest.raises(DriverError, match='/none, the folder of the claim served, does not exist'):
        _submit(tmp_path, steps, scripted.make_and_use(), platform, {'served': tmp_path / 'none'})
    assert steps.ran == []


@pytest.mark.parametrize(('version', 'pods'), [('2.15', 4), ('2.16', 4), ('2.17', 1)])
def test_whether_a_failed_step_is_retried_depends_on_the_version(
    tmp_path: Path, version: str, pods: int
) -> None:
    steps = Scripted(make=lambda step: 1)
    cluster = Cluster(tmp_path, steps, version=version, wait=lambda seconds: None)
    with pytest.raises(RunError, match=f'step make failed after {pods} attempt'):
        cluster.submit((scripted.make_and_use(retryPolicy=RETRIES), {}), ROOT)
    assert steps.steps_run == ['make'] * pods


def test_a_step_is_retried_in_a_new_pod(tmp_path: Path) -> None:
    file_counts: list[int] = []

    def make(step: StepContext) -> int:
        file_counts.append(len(list(step.folder('outputs', 'thing').parent.iterdir())))
        step.write('thing', 'deep/file.txt', 'text')
        return 0 if len(file_counts) == 3 else 1

    waits: list[float] = []
    steps = Scripted(make=make, use=_use)
    cluster = Cluster(tmp_path, steps, version='2.16', wait=waits.append)
    step, _ = cluster.submit((scripted.make_and_use(retryPolicy=RETRIES), {}), ROOT)
    assert step.state == 'COMPLETE'
    assert steps.steps_run == ['make', 'make', 'make', 'use']
    assert waits == [2, 6]
    # Each attempt starts without files of earlier attempts, and has a separate log.
    assert file_counts == [0, 0, 0]
    assert [path.name for path in step.logs] == ['attempt-0.log', 'attempt-1.log', 'attempt-2.log']
    assert step.outputs['executor-logs'].uri.endswith('/executor-logs-2')
    logs = sorted(
        path.name for path in (tmp_path / 'store').rglob('executor-logs-*') if 'make' in str(path)
    )
    assert logs == ['executor-logs-0', 'executor-logs-1', 'executor-logs-2']


def test_a_failed_step_stops_the_run_and_publishes_its_log(tmp_path: Path) -> None:
    def make(step: StepContext) -> int:
        step.write('thing', 'deep/file.txt', 'half')
        return 3

    steps = Scripted(make=make, use=_use)
    states: list[str] = []
    with pytest.raises(RunError) as caught:
        _submit(
            tmp_path,
            steps,
            scripted.make_and_use(retryPolicy=RETRIES),
            on_step=lambda step: states.append(step.state),
        )
    assert steps.steps_run == ['make'] * 4
    assert states == ['FAILED']
    assert 'step make failed after 4 attempts' in str(caught.value)
    assert f'log of {steps.ran[-1]}' in str(caught.value)
    assert 'exit code 3' in str(caught.value)
    # Only the log is published; a failed step is not cached.
    assert set(caught.value.step.outputs) == {'executor-logs'}
    assert not list((tmp_path / 'store').rglob('file.txt'))
    assert (
        _states(
            _submit(
                tmp_path, Scripted(make=_make, use=_use), scripted.make_and_use(retryPolicy=RETRIES)
            )
        )['make']
        == 'COMPLETE'
    )


@pytest.mark.parametrize(
    ('policy', 'seconds'),
    [
        (None, []),
        (
            {
                'maxRetryCount': 2,
                'backoffDuration': '60s',
                'backoffFactor': 2.0,
                'backoffMaxDuration': '3600s',
            },
            [60, 120],
        ),
        ({'maxRetryCount': 2, 'backoffDuration': '5s', 'backoffMaxDuration': '9s'}, [5, 5]),
    ],
    ids=['no policy', 'with a factor', 'without a factor'],
)
def test_waits_between_attempts(policy: dict | None, seconds: list[float]) -> None:
    assert retry_waits(policy).seconds == seconds


def test_the_default_allows_retries_of_a_long_training(compiled: dict) -> None:
    waits = retry_waits(compiled['root']['dag']['tasks']['Trainer']['retryPolicy'])
    assert waits.seconds == [60, 120]
    assert waits.longest_s >= 24 * 3600


def test_a_backoff_factor_must_be_a_whole_number() -> None:
    with pytest.raises(DriverError, match=r'backoffFactor is 1\.5: Argo takes whole numbers only'):
        retry_waits(RETRIES | {'backoffFactor': 1.5})


def test_no_retries_without_a_maximum_duration(tmp_path: Path) -> None:
    # Argo measures it from the start of the first attempt; the default of Kubeflow is 0.
    policy = {key: value for key, value in RETRIES.items() if key != 'backoffMaxDuration'}
    steps = Scripted(make=lambda step: 1)
    with pytest.raises(RunError, match='after 1 attempt'):
        _submit(tmp_path, steps, scripted.make_and_use(retryPolicy=policy))


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'text': 1}, 'parameter text is 1: expected STRING'),
        ({'txt': 'x'}, 'txt: not a parameter of this pipeline; it has text'),
    ],
)
def test_invalid_parameters_are_rejected(tmp_path: Path, parameters: dict, message: str) -> None:
    with pytest.raises(DriverError, match=message):
        _submit(tmp_path, Scripted(), scripted.make_and_use(), parameters=parameters)


@pytest.mark.parametrize(
    ('type_name', 'value', 'expected'),
    [
        ('STRING', 5, '5'),
        ('STRING', True, 'true'),
        ('STRING', [1], '[1]'),
        ('NUMBER_INTEGER', 3, 3),
        ('NUMBER_DOUBLE', 0.5, 0.5),
    ],
)
def test_constants_are_converted_to_the_type_of_the_parameter(
    tmp_path: Path, type_name: str, value: object, expected: object
) -> None:
    values: list[object] = []
    spec = scripted.make_and_use()
    spec['components']['make'] = scripted.component('make', text=type_name)
    spec['root']['dag']['tasks']['make']['inputs']['parameters']['text'] = {
        'runtimeValue': {'constant': value}
    }
    steps = Scripted(
        make=lambda step: values.append(step.executor_input['inputs']['parameterValues']['text']),
        use=lambda step: None,
    )
    _submit(tmp_path, steps, spec)
    assert values == [expected]


def _no_number(spec: dict) -> None:
    spec['components']['make'] = scripted.component('make', text='NUMBER_INTEGER')


def _no_value(spec: dict) -> None:
    spec['components']['make'] = scripted.component('make', text='STRING', more='STRING')


def _no_output(spec: dict) -> None:
    spec['root']['dag']['tasks']['use']['inputs']['artifacts']['made'] = scripted.of(
        'make', 'other'
    )


def _cycle(spec: dict) -> None:
    spec['root']['dag']['tasks']['make']['dependentTasks'] = ['use']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_no_number, "parameter text is 'first': expected NUMBER_INTEGER"),
        (_no_value, 'parameter more has neither a value nor a default'),
        (_no_output, "input made takes 'other' of make, which published executor-logs, thing"),
        (_cycle, 'make, use wait for each other'),
    ],
)
def test_errors_of_the_driver_are_reported(tmp_path: Path, change, message: str) -> None:
    spec = copy.deepcopy(scripted.make_and_use())
    change(spec)
    with pytest.raises(DriverError, match=message):
        _submit(tmp_path, Scripted(make=_make, use=_use), spec)
