"""A peer: the data path of TFX's template and tutorials, with standard components only.

    python -m benchmarks.template DATA_ROOT ROOT

It runs ImportExampleGen, StatisticsGen, SchemaGen, ExampleValidator and Transform to float32
tensors, each with its own in-process Beam runner.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping, Sequence

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import tensorflow as tf
from tfx import v1 as tfx

from benchmarks.reference import SIZE
from records.layout import DATA_FOLDER
from schemas.features import IMAGE
from schemas.labels import NO_FINDING


def preprocessing_fn(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Decodes and resizes images to float32 [batch, SIZE, SIZE, 1] in 0..1; computes the label."""

    def decode_one(data: tf.Tensor) -> tf.Tensor:
        pixels = tf.image.resize(tf.io.decode_jpeg(data, channels=1), [SIZE, SIZE], antialias=True)
        return tf.ensure_shape(pixels / 255.0, [SIZE, SIZE, 1])

    images = tf.map_fn(
        decode_one,
        tf.reshape(inputs[IMAGE], [-1]),
        fn_output_signature=tf.TensorSpec([SIZE, SIZE, 1], tf.float32),
    )
    return {'image_xf': images, 'label_xf': 1 - inputs[NO_FINDING]}


def create_pipeline(data_root: str, root: str) -> tfx.dsl.Pipeline:
    """The template's data path for the files of a data root."""
    proto = tfx.proto
    examples = tfx.components.ImportExampleGen(
        input_base=os.path.join(data_root, DATA_FOLDER),
        input_config=proto.Input(splits=[proto.Input.Split(name='all', pattern='*.tfrec')]),
        output_config=proto.Output(
            split_config=proto.SplitConfig(
                splits=[
                    proto.SplitConfig.Split(name=name, hash_buckets=share)
                    for name, share in (('train', 4), ('eval', 1))
                ]
            )
        ),
    )
    statistics = tfx.components.StatisticsGen(examples=examples.outputs['examples'])
    schema = tfx.components.SchemaGen(
        statistics=statistics.outputs['statistics'], infer_feature_shape=True
    )
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs['statistics'], schema=schema.outputs['schema']
    )
    transform = tfx.components.Transform(
        examples=examples.outputs['examples'],
        schema=schema.outputs['schema'],
        preprocessing_fn=f'{__spec__.name}.preprocessing_fn',
        disable_statistics=True,
    )
    return tfx.dsl.Pipeline(
        pipeline_name='template',
        pipeline_root=os.path.join(root, 'artifacts'),
        components=[examples, statistics, schema, validator, transform],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            os.path.join(root, 'metadata.sqlite')
        ),
        # Newer versions of Beam try to download another runner by default. FnApiRunner is the
        # in-process runner in all versions.
        beam_pipeline_args=['--runner=FnApiRunner', f'--setup_file={os.path.abspath("setup.py")}'],
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the pipeline."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root')
    parser.add_argument('root')
    args = parser.parse_args(argv)
    logging.disable(logging.INFO)
    os.makedirs(args.root, exist_ok=True)
    tfx.orchestration.LocalDagRunner().run(create_pipeline(args.data_root, args.root))


if __name__ == '__main__':
    main()
