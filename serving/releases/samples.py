"""Asks a served version for its sample images, and compares with what the gate saw."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from schemas import signatures
from serving.api.client import ModelServer, ModelServerError

# Written by components.serving_check.sample_answers into each model that is blessed.
FILE = Path('assets.extra') / 'samples.json'
# The largest difference of a probability; CPUs and batch sizes differ in the last bits.
TOLERANCE = 1e-5


def check(server: ModelServer, model: str, version: int, path: Path) -> list[str]:
    """A sentence for each sample that a version answers in another way; empty if all agree.

    A version without samples, of an older release, is asked nothing.

    Args:
      server: the model server.
      model: its name there.
      version: a version that is available.
      path: its folder.
    """
    file = path / FILE
    if not file.exists():
        return []
    rows = json.loads(file.read_text(encoding='utf-8'))['samples']
    images = [base64.b64decode(row['image']) for row in rows]
    try:
        prediction = server.predict(
            model, signatures.IMAGES.name, {signatures.IMAGES.input: images}, version=version
        )
    except ModelServerError as error:
        return [f'it does not answer its sample images: {error}']
    problems = []
    for number, row in enumerate(rows):
        probability = float(prediction.outputs[signatures.PROBABILITY][number])
        if abs(probability - row['probability']) > TOLERANCE:
            problems.append(
                f'sample {number + 1}: probability {probability:.6f}, expected '
                f'{row["probability"]:.6f} as in the serving check'
            )
    return problems
