"""A Beam job that brings the project along, as a step without an image of workers does; its workers
tell which code read the films.

python -m tests.support.setup_file_pipeline OUT BEAM_ARGUMENT...    out of the image; the films are
in /films, the answer is in OUT
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
    """The number of records of a file, and where the code lies that has read them."""
    found = [type(record).__name__ for record in tfrecord.read(path)]
    return json.dumps(
        {'records': found.count('Record'), 'of': len(found), 'code': tfrecord.__file__}
    )


def main(out: str, *arguments: str) -> None:
    """Runs the job with these arguments of Beam's beside those that a step passes."""
    options = PipelineOptions(BeamParameters(args=arguments).arguments(IMAGE_SETUP_FILE))
    paths = sorted(str(path) for path in Path('/films').rglob('*.tfrec'))
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create(paths)
            | beam.Map(read)
            | beam.io.WriteToText(out, num_shards=1, shard_name_template='')
        )


if __name__ == '__main__':
    main(*sys.argv[1:])
