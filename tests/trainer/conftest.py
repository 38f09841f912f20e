"""Fixtures for the tests of the trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tf_keras as keras
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from pipeline.create_pipeline import SCHEMA_FILE
from tests.support import synthetic_images
from trainer.input_pipeline import Split
from trainer.preprocessing import preprocessing_fn


@pytest.fixture(autouse=True)
def clean_keras() -> Iterator[None]:
    """Resets Keras: layer names start from 1, and the precision is float32."""
    keras.backend.clear_session()
    keras.mixed_precision.set_global_policy('float32')
    yield


@pytest.fixture(scope='session')
def splits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Split]:
    """Splits of 48 images for training, and 30 each for validation and calibration."""
    folder = tmp_path_factory.mktemp('splits')
    sizes = {'train': 48, 'val': 30, 'calibration': 30}
    return {
        name: synthetic_images.split(folder / f'Split-{name}', size, seed)
        for seed, (name, size) in enumerate(sizes.items())
    }


@pytest.fixture(scope='session')
def transform_output(tmp_path_factory: pytest.TempPathFactory) -> tft.TFTransformOutput:
    """The graph that tf.Transform makes for images of `synthetic_images.SIDE` pixels."""
    folder = tmp_path_factory.mktemp('transform')
    schema = text_format.Parse(Path(SCHEMA_FILE).read_text(encoding='utf-8'), schema_pb2.Schema())
    spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    record = {
        name: np.array([b'x'] if feature.dtype == 'string' else [0], feature.dtype.as_numpy_dtype)
        for name, feature in spec.items()
    }
    record['image'] = np.array([synthetic_images.png(synthetic_images.draw(0, 0))])
    config = {'image_size': synthetic_images.SIDE}
    with (
        beam.Pipeline(runner='FnApiRunner') as pipeline,
        tft_beam.Context(temp_dir=str(folder / 'tmp')),
    ):
        data = pipeline | beam.Create([record])
        metadata = dataset_metadata.DatasetMetadata(schema)
        graph = (data, metadata) | tft_beam.AnalyzeDataset(
            lambda inputs: preprocessing_fn(inputs, config)
        )
        _ = graph | tft_beam.WriteTransformFn(str(folder / 'graph'))
    return tft.TFTransformOutput(str(folder / 'graph'))
