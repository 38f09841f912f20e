"""The forms of label tables: presets for public data sets, and mapping files for others.

docs/dicom.md lists the presets with their sources.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pydantic
import yaml

from records import spelling
from records.convert.sources import SourceError
from schemas.labels import LABELS

FILE, PATH, FOLDER, INSTANCE, STUDY = 'file', 'path', 'folder', 'instance', 'study'
# A finding that makes an image abnormal, but that none of the labels names; records mark it.
OTHER = 'other'
# A word in a cell that says nothing about the patient, and one that makes an image unusable.
NOTHING, UNUSABLE = 'nothing', 'unusable'


class LabelFormat(pydantic.BaseModel):
    """Where a label table has what.

    Attributes:
      image: column that names the image.
      match: what that name is: of the file (without folder and suffix), the last three parts of its
        path, of its folder (digits only), its SOPInstanceUID or StudyInstanceUID.
      findings: column -> label, OTHER or NOTHING; 1 is present, 0 or empty absent, -1 uncertain.
      column: column with the names of all findings of an image, in place of `findings`.
      names: name in it -> label, OTHER, NOTHING or UNUSABLE; every other name is OTHER.
      several_readers: whether an image has a row for each reader; the majority decides.
      patient, age, sex, view: columns, for images without a header.
      lateral: column -> values of images that are not frontal, which are left out.
      patient_pattern: finds the patient in the name of the image; one group.
    """

    model_config = pydantic.ConfigDict(extra='forbid', frozen=True)

    image: str
    match: Literal['file', 'path', 'folder', 'instance', 'study'] = 'file'
    findings: dict[str, str] = {}
    column: str | None = None
    names: dict[str, str] = {}
    several_readers: bool = False
    patient: str | None = None
    age: str | None = None
    sex: str | None = None
    view: str | None = None
    lateral: dict[str, list[str]] = {}
    patient_pattern: str | None = None

    @pydantic.model_validator(mode='after')
    def _complete(self) -> LabelFormat:
        if bool(self.findings) == bool(self.column):
            raise ValueError('expected either findings or column')
        for name, label in {**self.findings, **self.names}.items():
            if label not in (*LABELS, OTHER, NOTHING, UNUSABLE):
                raise ValueError(
                    f'{name!r} is {label!r}: expected {OTHER}, {NOTHING}, {UNUSABLE}, or one of '
                    f'{", ".join(LABELS)}'
                )
        return self


# The 14 observations of CheXpert (Irvin et al., AAAI 2019); MIMIC-CXR has the same.
_CHEXPERT = {
    'No Finding': 'No Finding',
    'Enlarged Cardiomediastinum': OTHER,
    'Cardiomegaly': 'Cardiomegaly',
    'Lung Opacity': OTHER,
    'Lung Lesion': OTHER,
    'Edema': 'Edema',
    'Consolidation': 'Consolidation',
    'Pneumonia': 'Pneumonia',
    'Atelectasis': 'Atelectasis',
    'Pneumothorax': 'Pneumothorax',
    'Pleural Effusion': 'Effusion',
    'Pleural Other': OTHER,
    'Fracture': OTHER,
    # A device alone does not make an image abnormal, there as here.
    'Support Devices': NOTHING,
}
_PADCHEST = {
    'normal': 'No Finding',
    **dict.fromkeys(
        ('atelectasis', 'laminar atelectasis', 'lobar atelectasis', 'segmental atelectasis',
         'round atelectasis', 'total atelectasis', 'atelectasis basal'),
        'Atelectasis',
    ),
    'consolidation': 'Consolidation',
    'infiltrates': 'Infiltration',
    **dict.fromkeys(('pneumothorax', 'hydropneumothorax'), 'Pneumothorax'),
    'pulmonary edema': 'Edema',
    'emphysema': 'Emphysema',
    **dict.fromkeys(('pulmonary fibrosis', 'post radiotherapy changes fibrosis'), 'Fibrosis'),
    **dict.fromkeys(('pleural effusion', 'loculated pleural effusion'), 'Effusion'),
    **dict.fromkeys(('pneumonia', 'atypical pneumonia'), 'Pneumonia'),
    **dict.fromkeys(
        ('pleural thickening', 'apical pleural thickening', 'calcified pleural thickening'),
        'Pleural_Thickening',
    ),
    'cardiomegaly': 'Cardiomegaly',
    **dict.fromkeys(('nodule', 'multiple nodules'), 'Nodule'),
    **dict.fromkeys(('pulmonary mass', 'mass'), 'Mass'),
    'hiatal hernia': 'Hernia',
    'unchanged': NOTHING,
    'suboptimal study': UNUSABLE,
    'exclude': UNUSABLE,
}  # fmt: skip
_VINDR = {
    **dict.fromkeys(
        ('Aortic enlargement', 'Calcification', 'Clavicle fracture', 'Enlarged PA', 'ILD',
         'Lung Opacity', 'Lung cavity', 'Lung cyst', 'Mediastinal shift', 'Nodule/Mass',
         'Rib fracture', 'Other lesion', 'COPD', 'Lung tumor', 'Tuberculosis'),
        OTHER,
    ),
    'Atelectasis': 'Atelectasis',
    'Cardiomegaly': 'Cardiomegaly',
    'Consolidation': 'Consolidation',
    'Edema': 'Edema',
    'Emphysema': 'Emphysema',
    'Infiltration': 'Infiltration',
    'Pleural effusion': 'Effusion',
    'Pleural thickening': 'Pleural_Thickening',
    'Pneumothorax': 'Pneumothorax',
    'Pulmonary fibrosis': 'Fibrosis',
    'Pneumonia': 'Pneumonia',
    'Other diseases': OTHER,
    'No finding': 'No Finding',
}  # fmt: skip

PRESETS = {
    'chexpert': LabelFormat(
        image='Path',
        match=PATH,
        findings=_CHEXPERT,
        age='Age',
        sex='Sex',
        view='AP/PA',
        lateral={'Frontal/Lateral': ['Lateral']},
        patient_pattern=r'(patient\d+)',
    ),
    'mimic-cxr': LabelFormat(
        image='study_id', match=FOLDER, findings=_CHEXPERT, patient='subject_id'
    ),
    'padchest': LabelFormat(
        image='ImageID',
        column='Labels',
        names=_PADCHEST,
        patient='PatientID',
        sex='PatientSex_DICOM',
        view='Projection',
        lateral={'Projection': ['L', 'COSTAL', 'EXCLUDE', 'OBLICUA', 'UNK']},
    ),
    'vindr-cxr': LabelFormat(image='image_id', findings=_VINDR, several_readers=True),
    'rsna': LabelFormat(
        image='patientId',
        column='class',
        names={
            'Normal': 'No Finding',
            'Lung Opacity': 'Pneumonia',
            'No Lung Opacity / Not Normal': OTHER,
        },
    ),
}


def load(name: str) -> LabelFormat:
    """A preset, or the form in a YAML file with the attributes of LabelFormat.

    Raises:
      SourceError: it is neither.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name).expanduser()
    if not path.is_file():
        raise SourceError(
            f'--label-format {name}: expected {", ".join(PRESETS)}, or the path of a mapping file'
        )
    try:
        return LabelFormat.model_validate(yaml.safe_load(path.read_text(encoding='utf-8')))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = '.'.join(map(str, first['loc']))
        raise SourceError(f'{path}: {place + ": " if place else ""}{first["msg"]}') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f'{path}: not valid YAML ({error})') from None


def key_of(text: str, match: str) -> str:
    """The name of an image in a form that table and files share.

    Args:
      text: a cell of the table, the path of a file, or a UID.
      match: as in LabelFormat.
    """
    text = text.strip().replace('\\', '/')
    if match == PATH:
        return '/'.join(spelling.image_key(part) for part in text.split('/')[-3:])
    if match == FOLDER:
        name = text.rpartition('/')[0].rpartition('/')[2] or text
        return ''.join(filter(str.isdigit, name))
    return text if match in (INSTANCE, STUDY) else spelling.image_key(text)
