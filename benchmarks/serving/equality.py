"""Compares what every part of the system answers about the same images.

    python -m benchmarks.serving.equality ROOT [--images DIR] [--tf-serving PROGRAM]

ROOT is the root of a finished run. Its newest version, loaded in this process, is the reference;
the others are the predictions that the trainer kept, the model server (embedded, or the TF Serving
that --tf-serving names), and the gateway, which gets each image as it is, as PNG and as DICOM. The
images are those of the run's splits for which the trainer kept predictions, and those of --images.

Pixels of a PNG or DICOM file are those that the model decodes from the JPEG. Other decoders round
in another way, and a PNG with their pixels is another image; a row shows how much that matters.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import finished_run, scale
from benchmarks.serving import images, service, tf_serving, versions
from components.pusher import target as push_target
from components.serving_check.parameters import MODEL_NAME
from pipeline.run_root import RunRoot
from records import examples, tfrecord
from schemas import signatures
from serving.api.client import ModelServer
from trainer.artifacts import EVALUATION_SPLITS, PREDICTIONS_FILE

GOAL = 1e-5
# Has no goal.
OTHER_DECODER = 'gateway, as PNG of another JPEG decoder'
_COUNT = 40
FIGURES = 'serving-equality.json'


def main(argv: Sequence[str] | None = None) -> None:
    """Compares and prints; also writes the figures to serving-equality.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path)
    images.add_argument(parser)
    parser.add_argument(
        '--count', type=int, default=_COUNT, help=f'images of each kind (default: {_COUNT})'
    )
    parser.add_argument(
        '--tf-serving', default='', metavar='PROGRAM', help='a tensorflow_model_server to compare'
    )
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    kept = kept_predictions(args.root, args.count)
    contents = [content for content, _ in kept]
    contents += images.load(args.images, args.count) if args.images else []
    expected = [probability for _, probability in kept]
    scratch = service.new_folder(args.scratch / 'serving-equality')
    root = versions.from_root(args.root, scratch / 'root')
    figures = compare(root, scratch / 'service', contents, expected, args.tf_serving)
    (args.scratch / FIGURES).write_text(json.dumps(figures, indent=1))
    Console(width=100).print(table(figures))


def kept_predictions(root: Path, count: int) -> list[tuple[bytes, float]]:
    """The images for which the trainer of a run kept predictions, with these; at most `count`."""
    run = finished_run.newest(root, 'Trainer/model_run')
    splits = json.loads((run / PREDICTIONS_FILE).read_text())['splits']
    folder = finished_run.newest(root, 'XrayExampleGen/examples')
    kept: list[tuple[bytes, float]] = []
    for split in EVALUATION_SPLITS:
        expected = {row['image_id']: row['probability'] for row in splits.get(split, [])}
        for path in sorted(folder.glob(f'Split-{split}/*')):
            for record in tfrecord.read(str(path)):
                if isinstance(record, tfrecord.Damage):
                    continue
                parsed = examples.parse(record.payload)
                if parsed.image_id in expected and len(kept) < count:
                    kept.append((parsed.image, expected[parsed.image_id]))
    return kept


def compare(
    root: Path,
    data: Path,
    contents: Sequence[bytes],
    kept: Sequence[float] = (),
    tf_serving_program: str = '',
) -> dict[str, dict[str, float]]:
    """Where -> number of images and largest difference from the session loader.

    Args:
      root: of `versions`; version 1 is compared.
      data: the folder of the service.
      contents: encoded images.
      kept: what the trainer answered about the first of them.
      tf_serving_program: serves the versions in place of the embedded server.
    """
    from components.serving_check.session_model import SessionModel

    model = SessionModel(str(versions.path(root)))
    # One by one: a batch may differ in the last bits.
    reference = np.array(
        [model.score(signatures.IMAGES, [content]).probability[0] for content in contents]
    )
    grey = [_decoded_as_the_model_does(content) for content in contents]
    accurate = [images.png(images.pixels(content)) for content in contents]
    uploads = {
        'gateway, as it is': contents,
        'gateway, as PNG': [images.png(pixels) for pixels in grey],
        'gateway, as DICOM': [images.dicom(pixels) for pixels in grey],
        OTHER_DECODER: accurate,
    }
    with contextlib.ExitStack() as stack:
        options = []
        if tf_serving_program:
            config = RunRoot(root).serving / push_target.MODEL_CONFIG
            address = stack.enter_context(
                tf_serving.running(tf_serving_program, config, root / 'tf-serving.log')
            )
            options = ['--model-server', f'grpc://{address}']
        running = stack.enter_context(service.serving(root, data, *options))
        answers = {
            'trainer': np.array(kept),
            'model server': _from_server(running.model_server, contents),
            **{name: _from_gateway(running, files) for name, files in uploads.items()},
        }
    return {
        name: {
            'images': len(values),
            'assessed': int(np.isfinite(values).sum()),
            'difference': float(np.nanmax(np.abs(values - reference[: len(values)]), initial=0.0)),
        }
        for name, values in answers.items()
        if len(values)
    }


def _decoded_as_the_model_does(content: bytes) -> np.ndarray:
    import tensorflow as tf

    from trainer import preprocessing

    return preprocessing.decode(tf.constant(content)).numpy()


def _from_server(address: str, contents: Sequence[bytes]) -> np.ndarray:
    server = ModelServer(address)
    try:
        predictions = [
            server.predict(
                MODEL_NAME,
                signatures.IMAGES.name,
                {signatures.IMAGES.input: [content]},
                version=versions.STABLE,
            )
            for content in contents
        ]
    finally:
        server.close()
    return np.array([float(p.outputs[signatures.PROBABILITY][0]) for p in predictions])


def _from_gateway(running: service.Service, contents: Sequence[bytes]) -> np.ndarray:
    """The probabilities of single-image studies; NaN for those that were not assessed."""
    client = running.client()
    try:
        answers = [client.scored(client.upload(content)) for content in contents]
    finally:
        client.close()
    return np.array([np.nan if a['probability'] is None else a['probability'] for a in answers])


def table(figures: dict[str, dict[str, float]]) -> Table:
    """A table of the differences."""
    result = Table(box=None, pad_edge=False, title='largest difference from the session loader')
    for name in ('', 'images', 'assessed', 'difference'):
        result.add_column(name, justify='right' if name else 'left')
    for name, row in figures.items():
        result.add_row(name, str(row['images']), str(row['assessed']), f'{row["difference"]:.1e}')
    return result


if __name__ == '__main__':
    main()
