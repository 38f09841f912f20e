"""A folder in which the commands of a document run.

Stand-ins replace programs that need a cloud, a container engine or minutes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from records.synth import write_dataset
from tests.support.documents import PROJECT, Block, shell_blocks

# Programs that a stand-in replaces. `python` is one because the documented modules start engines
# and clusters.
STAND_INS = ('gcloud', 'kubectl', 'docker', 'curl', 'make', 'sudo', 'cxr-triage', 'python')
# Placeholder in the documents -> its value in the tests.
PLACEHOLDERS = {
    'PROJECT=…': 'PROJECT=our-project',
    'PROJECT': 'our-project',
    'BUCKET': 'our-bucket',
    'REGION': 'europe-west4',
    'REGISTRY': 'registry.example/team',
    'IMAGE': 'registry.example/team/cxr-triage:1',
    'HOST': 'localhost',
    'RUN_ID': 'a-run',
    'STEP': 'Trainer',
    'DATA': 'nih',
    'OWN_DATA': 'own',
    'NIH_DATA': 'from-originals',
    'FOLDER': 'classes',
    'NIH_PNGS': 'originals',
    'CONFIG.yaml': 'experiment.yaml',
    'CLAIM.yaml': 'claim.yaml',
}
WEIGHTS = 'mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5'


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a stand-in.

    Attributes:
      name: of the program.
      arguments: of the program.
      endpoint: the value of KF_PIPELINES_ENDPOINT.
      input: from a pipe.
    """

    name: str
    arguments: list[str]
    endpoint: str
    input: str

    def __str__(self) -> str:
        return ' '.join([self.name, *self.arguments])


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """The project folder in which commands run, and the folder of buckets."""

    folder: Path
    buckets: Path

    def calls(self, document: Path) -> list[Call]:
        """Runs all commands of a document in one shell and returns the calls of stand-ins."""
        log = self.folder.parent / f'{document.stem}.jsonl'
        log.unlink(missing_ok=True)
        log.touch()
        script = '\n'.join(['set -euo pipefail', *map(typed, shell_blocks(document)), 'wait'])
        environment = {
            'PATH': f'{self.folder.parent / "stand-ins"}:/usr/bin:/bin',
            'HOME': str(self.folder.parent),
            'STAND_IN_CALLS': str(log),
            'STAND_IN_BUCKETS': str(self.buckets),
        }
        shell = ['bash', '-c', script]
        result = subprocess.run(
            shell,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, f'{document.name}: {result.stderr}\n{script}'
        return [Call(**json.loads(line)) for line in log.read_text().splitlines()]


def typed(block: Block) -> str:
    """The text of a block with values for placeholders and without brackets around options."""
    text = block.text
    for placeholder, value in PLACEHOLDERS.items():
        text = re.sub(rf'(?<![$\w{{.]){re.escape(placeholder)}(?![\w=])', value, text)
    return re.sub(r'\[(Trainer)\]', r'\1', text)


def build(base: Path, weights: Path) -> Sandbox:
    """Makes a sandbox under `base`, with everything that the documents expect a reader to have."""
    folder, stand_ins = base / 'project', base / 'stand-ins'
    folder.mkdir()
    for name in ('pipeline', 'kubeflow', 'schemas', 'Makefile'):
        (folder / name).symlink_to(PROJECT / name)
    for name in (WEIGHTS, 'mobilenet_v2_no_top.h5'):
        (folder / name).symlink_to(weights)
    write_dataset(folder / 'nih', count=60, seed=1, size=64)
    (folder / 'runs' / 'demo').mkdir(parents=True)
    (folder / 'runs' / 'demo' / 'data').symlink_to(folder / 'nih')
    _images(folder)
    bucket = base / 'buckets' / PLACEHOLDERS['BUCKET']
    (bucket / 'weights').mkdir(parents=True)
    (bucket / 'nih').symlink_to(folder / 'nih')
    (bucket / 'weights' / 'mobilenet_v2.h5').symlink_to(weights)
    (folder / 'experiment.yaml').symlink_to(
        PROJECT / 'pipeline' / 'configs' / 'nih_triage_gke.yaml'
    )
    (folder / 'claim.yaml').write_text('kind: PersistentVolumeClaim\n')

    stand_ins.mkdir()
    (folder / '.venv' / 'bin').mkdir(parents=True)
    (folder / 'tests' / 'support').mkdir(parents=True)
    program = f'#!{sys.executable}\n' + (PROJECT / 'tests' / 'support' / 'stand_in.py').read_text()
    paths = [stand_ins / name for name in STAND_INS]
    paths += [folder / '.venv' / 'bin' / 'python', folder / 'tests' / 'support' / 'debian13']
    for path in paths:
        path.write_text(program)
        path.chmod(0o755)
    # Empty, so that the stand-ins stay at the front of PATH.
    (folder / '.venv' / 'bin' / 'activate').touch()
    return Sandbox(folder, base / 'buckets')


def _images(folder: Path) -> None:
    """Writes images in a folder for each class, and others in NIH's layout with their table."""
    images = np.random.default_rng(0).integers(40, 220, (8, 128, 128), dtype=np.uint8)
    for number, pixels in enumerate(images):
        kind = ('NORMAL', 'Pneumonia')[number % 2]
        for path in (
            folder / 'classes' / kind / f'{number}.png',
            folder / 'originals' / f'0000000{number + 1}_000.png',
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    Image.fromarray(images[0]).save(folder / 'image.png')
    columns = (
        'Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position'
    )
    rows = [
        f'0000000{n + 1}_000.png,{("No Finding", "Mass|Nodule")[n % 2]},0,{n + 1},50,F,PA'
        for n in range(len(images))
    ]
    (folder / 'Data_Entry_2017_v2020.csv').write_text('\n'.join([columns, *rows]) + os.linesep)
