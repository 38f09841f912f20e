"""What traffic is compared with: the test images of the run that made a version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.evaluator import bootstrap, predictions
from components.evaluator.bootstrap import Cases
from components.evaluator.figure import Figure
from components.evaluator.predictions import LABEL, SPLIT
from monitoring import embeddings, sample
from monitoring.prevalence import Scored
from monitoring.recalibration import answers
from monitoring.sample import AP, FLAG, MAX_IMAGES, NOT_ASSESSED, PROBABILITY, Sample
from pages import lineage, runs, store
from pages.runs import Run
from pipeline.steps import EVALUATOR, INGESTION
from records import tfrecord
from records.examples import RecordError, parse
from schemas import image_status, signatures
from schemas.features import IMAGE_ID, PATIENT_ID, VIEW
from serving.assessment import description
from serving.assessment.description import Description


class ReferenceDataError(ValueError):
    """There is no reference for a version; the text says why and what to do."""


@dataclass(frozen=True)
class Reference:
    """The test images of a version.

    Attributes:
      run: the name of the run that made the version.
      sample: the images.
      labels: the task's label of each, 0/1, int [n].
    """

    run: str
    sample: Sample
    labels: np.ndarray

    def scored(self) -> Scored:
        """The assessed images."""
        columns = self.sample.columns
        rows = np.isfinite(columns[PROBABILITY])
        return Scored(
            self.sample.groups[rows],
            columns[PROBABILITY][rows],
            columns[FLAG][rows],
            self.assessed_labels(),
        )

    def tested(self, replicates: int = 1000, level: float = 0.95) -> dict[str, Figure]:
        """Sensitivity and specificity at the operating point, with intervals by patient."""
        scored = self.scored()
        cases = Cases(scored.probability, scored.flag, self.assessed_labels())
        statistics = {
            'sensitivity': bootstrap.sensitivity(cases),
            'specificity': bootstrap.specificity(cases),
        }
        return bootstrap.figures(statistics, scored.groups, replicates, level)

    def assessed_labels(self) -> np.ndarray:
        """The labels of the assessed images."""
        return self.labels[np.isfinite(self.sample.columns[PROBABILITY])]


def read(root: Path, version: int, cache: Path) -> Reference:
    """The reference of a version; it is computed once and kept in `cache`.

    Args:
      root: the run root.
      version: in its push directory.
      cache: a folder.

    Raises:
      ReferenceDataError: no run of the root made the version, or its artifacts are gone.
      pipeline.metadata_file.StoreError: the metadata store is damaged.
    """
    path = cache / f'reference-{version}.npz'
    if path.exists() and (kept := _load(path)):
        return kept
    origin = answers.origin(root, version)
    run = _run_of(root, int(origin.version))
    evaluation = run.path(EVALUATOR.name, 'evaluation')
    if evaluation is None:
        raise ReferenceDataError(
            f'{root}: the evaluation of version {version} no longer exists. Run the pipeline again'
        )
    table = origin.of(predictions.read(evaluation))
    if len(table) > MAX_IMAGES:
        # Whole patients, always the same ones.
        patients = table[PATIENT_ID].drop_duplicates().sample(frac=1, random_state=0)
        order = table[PATIENT_ID].map({name: place for place, name in enumerate(patients)})
        table = table.assign(order=order).sort_values('order').head(MAX_IMAGES)
    served = lineage.served_version(run)
    assert served is not None
    images = _images(run, set(table[SPLIT]), set(table[IMAGE_ID]))
    found = {
        image_id: (description.describe(content), outputs.get(signatures.EMBEDDING))
        for image_id, content, outputs in embeddings.answers(served.path, images)
    }
    if not found:
        raise ReferenceDataError(
            f'{root}: the examples of run {run.title} no longer exist, or have no image ids, so '
            'there is nothing to compare images with. Run the pipeline again'
        )
    result = _build(run.name, table, found)
    cache.mkdir(parents=True, exist_ok=True)
    more = {'labels': result.labels, 'run': result.run, 'revision': description.REVISION}
    save(path, result.sample, **{name: np.asarray(value) for name, value in more.items()})
    return result


def _run_of(root: Path, version: int) -> Run:
    for run in runs.all_runs(store.read(root)):
        served = lineage.served_version(run)
        if served is not None and served.version == str(version):
            return run
    raise ReferenceDataError(
        f'{root}: no run made version {version}. Give the root of the run with --root'
    )


def _images(run: Run, splits: Iterable[str], ids: set[str]) -> Iterator[tuple[str, bytes]]:
    """Id and content of the images among the examples of a run."""
    for split in sorted(splits):
        folder = run.path(INGESTION.name, 'examples', f'Split-{split}')
        for path in sorted(Path(folder).iterdir()) if folder else ():
            for item in tfrecord.read(str(path)):
                if isinstance(item, tfrecord.Damage):
                    continue
                try:
                    record = parse(item.payload)
                except RecordError:
                    continue
                if record.image_id in ids:
                    yield record.image_id or '', record.image


def _build(
    run: str,
    table: pd.DataFrame,
    found: dict[str, tuple[Description | None, np.ndarray | None]],
) -> Reference:
    described, seen = zip(
        *(found.get(image_id, (None, None)) for image_id in table[IMAGE_ID]), strict=True
    )
    status = table[signatures.STATUS].to_numpy()
    # The service refuses these, before or after the model.
    refused = (status != image_status.OK) | np.array(
        [item is not None and bool(item.reason) for item in described]
    )
    columns = {
        NOT_ASSESSED: refused.astype(np.float64),
        PROBABILITY: np.where(refused, np.nan, table[signatures.PROBABILITY].astype(float)),
        FLAG: np.where(refused, np.nan, table[signatures.FLAG].astype(float)),
        AP: sample.is_ap(table[VIEW]),
    }
    groups = list(table[PATIENT_ID].astype(str))
    return Reference(
        run, sample.build(groups, described, seen, columns), table[LABEL].to_numpy(int)
    )


def save(path: Path, images: Sample, **more: np.ndarray) -> None:
    """Writes a sample to a file; `more` must not have names of its columns."""
    unfinished = path.with_suffix('.new.npz')
    columns = {f'column/{name}': values for name, values in images.columns.items()}
    vectors = {f'vector/{name}': values for name, values in images.vectors.items()}
    np.savez_compressed(unfinished, groups=images.groups, **columns, **vectors, **more)
    unfinished.replace(path)


def load_sample(stored: dict[str, np.ndarray]) -> Sample:
    """The sample in a file that `save` wrote."""

    def named(kind: str) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(kind): values
            for name, values in stored.items()
            if name.startswith(kind)
        }

    return Sample(stored['groups'], named('column/'), named('vector/'))


def _load(path: Path) -> Reference | None:
    """What `read` has kept; None if a release with other descriptors did."""
    stored = dict(np.load(path))
    if stored.get('revision') != description.REVISION:
        return None
    return Reference(str(stored['run']), load_sample(stored), stored['labels'])
