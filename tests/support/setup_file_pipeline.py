"""A Beam job that takes the project along, as a step without a worker image does.

Its workers report which code reads the images.

python -m tests.support.setup_file_pipeline OUT BEAM_ARGUMENT...
    in the container image; reads the data root /images, writes to OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from cli.cluster_options import IMAGE_SETUP_FILE
from pipeline.beam_parameters import BeamParameters
from records import tfrecord


def read(path: str) -> str:
    """Counts the records of a file and names the path of the code that read them."""
    kinds = [type(item).__name__ for item in tfrecord.read(path)]
    return json.dumps(
        {'records': kinds.count('Record'), 'items': len(kinds), 'code': tfrecord.__file__}
    )


def main(out: str, *arguments: str) -> None:
    """Runs the job with these Beam arguments and those that a step passes."""
    options = PipelineOptions(BeamParameters(args=arguments).arguments(IMAGE_SETUP_FILE))
    paths = sorted(str(path) for path in Path('/images').rglob('*.tfrec'))
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create(paths)
            | beam.Map(read)
            | beam.io.WriteToText(out, num_shards=1, shard_name_template='')
        )


if __name__ == '__main__':
    main(*sys.argv[1:])
