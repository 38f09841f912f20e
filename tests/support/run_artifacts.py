"""What an environment makes of films, in plain files that another environment can read; each
command is a process of its own.

python -m tests.support.run_artifacts make FILMS FOLDER [OPTION...]    the whole pipeline with these
options, then what it gave
python -m tests.support.run_artifacts prepare FILMS FOLDER [SETTING...]    the same up to Transform,
with these KEY=VALUE
python -m tests.support.run_artifacts judge MADE FOLDER [BEAM...]      graph and model in MADE, of
whichever environment, run in this one
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
from pipeline.execute import data_fingerprint
from pipeline.kubeflow import spec
from pipeline.kubeflow.parameters import KubeflowParameters
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
# The image of the containers and the fingerprint of the data: the same in both, as they name things
# outside.
_CONTAINER, _FINGERPRINT = 'cxr-triage:test', 'fingerprint'


def make(films: Path, folder: Path, *options: str) -> None:
    """Runs the pipeline on the data root `films`; leaves its root, FACTS and SPEC in `folder`."""
    root = folder / ROOT
    code = cli.main(
        ['run', '--config', str(CONFIG), '--data-root', str(films), '--root', str(root), *options]
    )
    if code != 0:
        raise SystemExit(f'the pipeline ended with exit code {code}')
    (folder / FACTS).write_text(json.dumps(_of_data(root)))
    # Under a root that holds nothing, and the same one in both: what is served decides what is
    # pushed.
    config = config_lib.load(str(CONFIG), root='/nowhere', data__root='/films')
    spec.compile_spec(
        create_pipeline(config, _FINGERPRINT),
        KubeflowParameters(image=_CONTAINER),
        str(folder / SPEC),
    )


def prepare(films: Path, folder: Path, *settings: str) -> None:
    """Runs what stands before the training on the data root `films`; leaves its root and FACTS in
    `folder`.
    """
    root = folder / ROOT
    config = config_lib.load(str(CONFIG), settings, data__root=str(films), root=str(root))
    pipeline = create_pipeline(
        config, data_fingerprint(config), local_runner.metadata_config(str(root))
    )
    with (
        RunDisplay(Console()) as display,
        contextlib.closing(local_runner.run(pipeline, display, 'prepared')) as steps,
    ):
        assert any(step.name == 'Transform' for step in steps)
    (folder / FACTS).write_text(json.dumps(_of_data(root)))


def judge(made: Path, folder: Path, *beam: str) -> None:
    """Runs the transform graph and the served model of `made` on its test films, and evaluates the
    model, with Beam arguments if there are any; leaves FACTS in `folder`."""
    root = made / ROOT
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


def _of_data(root: Path) -> dict[str, Any]:
    """What the Beam steps before the training gave."""
    return {
        'versions': {name: importlib.metadata.version(name) for name in ('tfx', 'tensorflow')},
        'records': {split: dict(_records(root, split)) for split in SPLITS},
        'statistics': {split: _statistics(root, split) for split in SPLITS},
        'audit': json.loads((_only(root / 'artifacts/DataAudit/audit') / 'audit.json').read_text()),
        'pixels': {split: dict(_pixels(root, split)) for split in ('train', 'val', 'calibration')},
    }


def _transform(root: Path, images: list[bytes]) -> Iterator[bytes]:
    """Encoded images through the transform graph, as TF Serving would load it."""
    model = SessionModel(str(_only(root / 'artifacts/Transform/transform_graph') / 'transform_fn'))
    # The graph names its inputs by number only: each gets the image if it takes bytes, and the
    # image's output depends on its own alone.
    definition = model.signatures['serving_default']
    inputs = {
        name: [[image] if tensor.dtype == tf.string.as_datatype_enum else [0] for image in images]
        for name, tensor in definition.inputs.items()
    }
    answers = model.run('serving_default', inputs)
    yield from answers[transformed(IMAGE)].ravel()


def _metrics(evaluated: str) -> dict[str, float]:
    """Every metric that is a number, of every slice, by a name."""
    import tensorflow_model_analysis as tfma

    found = {}
    for of_slice in tfma.load_metrics(evaluated):
        for item in of_slice.metric_keys_and_values:
            if item.value.WhichOneof('type') == 'double_value':
                slice_name = json_format.MessageToJson(of_slice.slice_key, indent=None)
                found[f'{slice_name} {item.key.output_name} {item.key.name}'] = (
                    item.value.double_value.value
                )
    return found


def _payloads(root: Path, component: str, output: str, split: str) -> Iterator[bytes]:
    for path in sorted(
        (_only(root / 'artifacts' / component / output) / f'Split-{split}').iterdir()
    ):
        for record in tfrecord.read(str(path)):
            assert isinstance(record, tfrecord.Record), record
            yield record.payload


def _records(root: Path, split: str) -> Iterator[tuple[str, str]]:
    """Image -> digest of all its features; in the order of their names, as serialisations of a map
    differ.
    """
    for payload in _payloads(root, 'XrayExampleGen', 'examples', split):
        features = Example.FromString(payload).features.feature
        content = hashlib.sha256()
        for name in sorted(features):
            content.update(f'{name}: '.encode() + features[name].SerializeToString())
        yield _image_id(features), content.hexdigest()


def _pixels(root: Path, split: str) -> Iterator[tuple[str, str]]:
    """Image -> digest of its pixels after Transform."""
    for payload in _payloads(root, 'Transform', 'transformed_examples', split):
        features = Example.FromString(payload).features.feature
        yield _image_id(features), _digest(features[transformed(IMAGE)].bytes_list.value[0])


def _image_id(features: Any) -> str:
    return features[IMAGE_ID].bytes_list.value[0].decode()


def _digest(png: bytes) -> str:
    """Of the pixels: two versions of libpng may pack the same ones differently."""
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
