"""Runs the pipeline or a model and writes facts that tests compare between environments.

python -m tests.support.run_artifacts make DATA_ROOT FOLDER [OPTION...]
    runs the whole pipeline with these options
python -m tests.support.run_artifacts prepare DATA_ROOT FOLDER [KEY=VALUE...]
    runs it up to Transform with these settings
python -m tests.support.run_artifacts judge RUN FOLDER [BEAM_ARGUMENT...]
    runs the graph and the model of RUN, from whichever environment, in this one
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from PIL import Image
from rich.console import Console
from tensorflow_metadata.proto.v0 import statistics_pb2

from cli import main as cli
from components.serving_check.session_model import SessionModel
from pipeline import config as config_lib
from pipeline import local_runner
from pipeline.create_pipeline import create_pipeline
from pipeline.display import RunDisplay
from pipeline.kubeflow import spec
from pipeline.kubeflow.parameters import KubeflowParameters
from pipeline.run_inputs import data_fingerprint
from records import tfrecord
from records.example_proto import Example
from schemas.features import IMAGE, IMAGE_ID, SPLITS, transformed
from schemas.signatures import EXAMPLES, IMAGES
from tests.support.evaluation import evaluate
from trainer.tasks import TASKS

CONFIG = Path(__file__).with_name('small_run.yaml')
ROOT = 'root'
FACTS = 'facts.json'
SPEC = 'spec.yaml'
# The same in both environments: the container image and the fingerprint of the data.
_CONTAINER, _FINGERPRINT = 'cxr-triage:test', 'fingerprint'


def make(data_root: Path, folder: Path, *options: str) -> None:
    """Runs the pipeline and writes its run root, FACTS and SPEC to `folder`."""
    root = folder / ROOT
    arguments = ['--config', str(CONFIG), '--data-root', str(data_root), '--root', str(root)]
    code = cli.main(['run', *arguments, *options])
    if code != 0:
        raise SystemExit(f'the pipeline ended with exit code {code}')
    (folder / FACTS).write_text(json.dumps(_facts_of_data(root)))
    # The same run root in both environments, and one that serves no model.
    config = config_lib.load(str(CONFIG), root='/nowhere', data__root='/images')
    spec.compile_spec(
        create_pipeline(config, _FINGERPRINT),
        KubeflowParameters(image=_CONTAINER),
        str(folder / SPEC),
    )


def prepare(data_root: Path, folder: Path, *settings: str) -> None:
    """Runs the steps up to Transform and writes their run root and FACTS to `folder`."""
    root = folder / ROOT
    config = config_lib.load(str(CONFIG), settings, data__root=str(data_root), root=str(root))
    pipeline = create_pipeline(
        config, data_fingerprint(config), local_runner.metadata_config(str(root))
    )
    with (
        RunDisplay(Console()) as display,
        contextlib.closing(local_runner.run(pipeline, display, 'prepared')) as steps,
    ):
        assert any(step.name == 'Transform' for step in steps)
    (folder / FACTS).write_text(json.dumps(_facts_of_data(root)))


def judge(run: Path, folder: Path, *beam: str) -> None:
    """Evaluates the model of a run and writes FACTS to `folder`.

    Args:
      run: the folder of `make`; its test images go through its transform graph and its model.
      folder: for FACTS.
      beam: arguments of Beam for the Evaluator.
    """
    root = run / ROOT
    folder.mkdir(parents=True, exist_ok=True)
    payloads = list(_payloads(root, 'XrayExampleGen', 'examples', 'test'))
    images = [
        Example.FromString(payload).features.feature[IMAGE].bytes_list.value[0]
        for payload in payloads
    ]
    model = SessionModel(str(_only(root / 'serving')))
    facts: dict[str, Any] = {'scores': {}}
    for signature, values in ((EXAMPLES, payloads), (IMAGES, images)):
        scores = model.score(signature, values)
        facts['scores'][signature.name] = {
            'probability': scores.probability.tolist(),
            'flag': scores.flag.tolist(),
        }
    facts['pixels'] = [_digest(png) for png in _transform(root, images)]
    config = config_lib.load(str(CONFIG))
    examples, candidate = (
        _only(root / 'artifacts/XrayExampleGen/examples'),
        _only(root / 'artifacts/Trainer/model'),
    )
    evaluated, facts['blessed'] = evaluate(
        config.evaluation, TASKS[config.task], examples, candidate, folder, beam_args=beam
    )
    facts['metrics'] = _metrics(evaluated)
    (folder / FACTS).write_text(json.dumps(facts))


def _facts_of_data(root: Path) -> dict[str, Any]:
    """The outputs of the Beam steps up to Transform."""
    return {
        'versions': {name: importlib.metadata.version(name) for name in ('tfx', 'tensorflow')},
        'records': {split: dict(_records(root, split)) for split in SPLITS},
        'statistics': {split: _statistics(root, split) for split in SPLITS},
        'audit': json.loads((_only(root / 'artifacts/DataAudit/audit') / 'audit.json').read_text()),
        'pixels': {split: dict(_pixels(root, split)) for split in ('train', 'val', 'calibration')},
    }


def _transform(root: Path, images: list[bytes]) -> Iterator[bytes]:
    """Runs encoded images through the transform graph, loaded as TF Serving would load it."""
    model = SessionModel(str(_only(root / 'artifacts/Transform/transform_graph') / 'transform_fn'))
    # The graph only numbers its inputs, so every input that takes bytes gets the image. The output
    # for the image depends on its own input alone.
    definition = model.signatures['serving_default']
    inputs = {name: _input(tensor, images) for name, tensor in definition.inputs.items()}
    answers = model.run('serving_default', inputs)
    yield from answers[transformed(IMAGE)].ravel()


def _input(tensor: Any, images: list[bytes]) -> Any:
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if shape == (-1, 1):
        is_bytes = tensor.dtype == tf.string.as_datatype_enum
        return [[image] if is_bytes else [0] for image in images]
    # A part of a sparse tensor, of a feature that not every record has: here, none has it.
    indices, values, dense_shape = np.zeros([0, 2]), np.zeros([0]), np.array([len(images), 0])
    return {(-1, 2): indices, (-1,): values, (2,): dense_shape}[shape]


def _metrics(evaluated: str) -> dict[str, float]:
    """Every numeric metric of every slice, under the names of slice, output and metric."""
    import tensorflow_model_analysis as tfma

    metrics = {}
    for slice_metrics in tfma.load_metrics(evaluated):
        for item in slice_metrics.metric_keys_and_values:
            if item.value.WhichOneof('type') == 'double_value':
                slice_name = json_format.MessageToJson(slice_metrics.slice_key, indent=None)
                metrics[f'{slice_name} {item.key.output_name} {item.key.name}'] = (
                    item.value.double_value.value
                )
    return metrics


def _payloads(root: Path, component: str, output: str, split: str) -> Iterator[bytes]:
    for path in sorted(
        (_only(root / 'artifacts' / component / output) / f'Split-{split}').iterdir()
    ):
        for record in tfrecord.read(str(path)):
            assert isinstance(record, tfrecord.Record), record
            yield record.payload


def _records(root: Path, split: str) -> Iterator[tuple[str, str]]:
    """Image id -> digest of all its features, sorted by name since the order in a map varies."""
    for payload in _payloads(root, 'XrayExampleGen', 'examples', split):
        features = Example.FromString(payload).features.feature
        content = hashlib.sha256()
        for name in sorted(features):
            content.update(f'{name}: '.encode() + features[name].SerializeToString())
        yield _image_id(features), content.hexdigest()


def _pixels(root: Path, split: str) -> Iterator[tuple[str, str]]:
    """Image id -> digest of its pixels after Transform."""
    for payload in _payloads(root, 'Transform', 'transformed_examples', split):
        features = Example.FromString(payload).features.feature
        yield _image_id(features), _digest(features[transformed(IMAGE)].bytes_list.value[0])


def _image_id(features: Any) -> str:
    return features[IMAGE_ID].bytes_list.value[0].decode()


def _digest(png: bytes) -> str:
    """The digest of the pixels, since versions of libpng compress the same pixels differently."""
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    return hashlib.sha256(f'{pixels.dtype} {pixels.shape} '.encode() + pixels.tobytes()).hexdigest()


def _statistics(root: Path, split: str) -> dict[str, Any]:
    """The statistics of a split as plain values."""
    path = _only(root / 'artifacts/StatisticsGen/statistics') / f'Split-{split}' / 'FeatureStats.pb'
    statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    return json_format.MessageToDict(statistics)


def _only(folder: Path) -> Path:
    (path,) = (path for path in folder.iterdir() if path.name.isdigit())
    return path


if __name__ == '__main__':
    {'make': make, 'prepare': prepare, 'judge': judge}[sys.argv[1]](
        Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:]
    )
