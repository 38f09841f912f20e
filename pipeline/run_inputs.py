"""What a run depends on: its data, code, weights and expert table, each as a digest.

TensorFlow is not imported unless the data are in an object store.
"""

from __future__ import annotations

import hashlib

import storage
from components.xray_example_gen import data_files
from pipeline.code_digest import digest
from pipeline.config import Config
from records.data_root import fingerprint, scan

# All that a run executes. TFX gets the last ones by name, so that nothing imports them.
_CODE = (
    'pipeline.execute',
    'components.evaluator.patient_metrics',
    'trainer.preprocessing',
    'trainer.run',
    'trainer.tuning',
)
# In a run record only: the served version that the training starts from.
WARM_START = 'warm_start'
DATA, SPANS, CODE, WEIGHTS, EXPERTS = 'data', 'spans', 'code', 'weights', 'expert_labels'


def read(config: Config) -> dict[str, str]:
    """What a run of `config` would depend on now.

    Args:
      config: the configuration, with absolute paths, `root` and `data.root` set.

    Returns:
      DATA: the fingerprint of the data. SPANS: their numbers, e.g. '0,1'. CODE: a digest of all
      that a run executes. WEIGHTS and EXPERTS: digests of the files; '' where there are none.

    Raises:
      DataRootError: there are no files, or a side file is missing.
      OSError: a file cannot be read, or a folder cannot be listed.
    """
    assert config.data.root is not None
    data_root = scan(config.data.root, config.data.patterns)
    spans = {file.span for file in data_root.of_spans(config.data.spans)}
    experts = config.data.expert_labels.file
    return {
        DATA: data_fingerprint(config),
        SPANS: ','.join(map(str, sorted(spans))),
        CODE: digest(*_CODE),
        WEIGHTS: file_digest(config.model.weights) if config.model.weights else '',
        EXPERTS: file_digest(storage.resolve(config.data.root, experts)) if experts else '',
    }


def data_fingerprint(config: Config) -> str:
    """The fingerprint of all files that ingestion reads.

    Raises:
      DataRootError: there are no files, or a side file is missing.
      OSError: a folder cannot be listed.
    """
    assert config.data.root is not None
    data_root = scan(config.data.root, config.data.patterns)
    data = data_files.locate(config.data, data_root)
    return fingerprint(
        data_root.path, data_root.of_spans(data.spans), data_files.side_paths(data_root.path, data)
    )


def file_digest(path: str) -> str:
    """A digest of the content of a file; 'missing' if it does not exist."""
    if not storage.exists(path):
        return 'missing'  # the step that reads it reports it, with advice
    return hashlib.sha256(storage.read_bytes(path)).hexdigest()[:16]
