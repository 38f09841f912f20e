"""The 15 labels of NIH ChestX-ray14 and those derived from them. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Mapping

NO_FINDING = 'No Finding'

# In the order of the Kaggle TFRecords and of `preprocessed_data.csv`.
FINDINGS: tuple[str, ...] = (
    'Atelectasis',
    'Consolidation',
    'Infiltration',
    'Pneumothorax',
    'Edema',
    'Emphysema',
    'Fibrosis',
    'Effusion',
    'Pneumonia',
    'Pleural_Thickening',
    'Cardiomegaly',
    'Nodule',
    'Mass',
    'Hernia',
)
LABELS: tuple[str, ...] = (NO_FINDING, *FINDINGS)


# An optional mark of a record: a finding that none of the 14 names, such as a fracture. Without it,
# a record with neither `No Finding` nor a finding has no label.
OTHER = 'Other'

# Derived from the others at ingestion.
ABNORMAL = 'abnormal'


def derived(labels: Mapping[str, int]) -> dict[str, int]:
    """The labels that ingestion adds to the 15 raw ones (name -> 0/1)."""
    return {ABNORMAL: 1 - labels[NO_FINDING]}
