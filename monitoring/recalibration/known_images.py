"""What a version learned from: such images would make it look better calibrated than it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from components.pusher.target import ServedVersion
from pages import runs, store
from pipeline import run_record
from pipeline.steps import INGESTION
from records import tfrecord
from records.example_proto import Example
from records.intake import image_digest
from schemas.features import IMAGE, PATIENT_ID

# The Trainer fits on the first, and chooses the epoch on the second.
_SPLITS = ('train', 'val')

IsKnown = Callable[[str, str], bool]


def nothing(patient: str, digest: str) -> bool:
    """Says of every image that the version did not learn from it."""
    del patient, digest
    return False


def of_version(root: Path, version: ServedVersion) -> IsKnown | None:
    """Whether a version learned from a patient or an image.

    Args:
      root: the run root.
      version: of that root, or a recalibration of one.

    Returns:
      A function of the patient's id and `records.intake.image_digest`; None if the images that the
      version learned from no longer exist.

    Raises:
      pipeline.metadata_file.StoreError: the metadata store is damaged.
    """
    assert version.manifest is not None
    names = {run_record.run_id(run.run_id) for run in version.manifest.runs()}
    patients: set[str] = set()
    digests: set[str] = set()
    for run in runs.all_runs(store.read(root)):
        if run_record.run_id(run.name) not in names:
            continue
        for split in _SPLITS:
            folder = run.path(INGESTION.name, 'examples', f'Split-{split}')
            for path in sorted(Path(folder).iterdir()) if folder else ():
                _add(path, patients, digests)
    if not patients:
        return None
    return lambda patient, digest: patient in patients or digest in digests


def _add(path: Path, patients: set[str], digests: set[str]) -> None:
    for item in tfrecord.read(str(path)):
        if isinstance(item, tfrecord.Damage):
            continue
        features = Example.FromString(item.payload).features.feature
        patients.update(value.decode() for value in features[PATIENT_ID].bytes_list.value)
        digests.update(image_digest(value) for value in features[IMAGE].bytes_list.value)
