"""Networks with random weights, for measurements of speed. They need no file of ImageNet weights.

python -m benchmarks.random_weights BACKBONE MODEL
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from trainer import calibration
from trainer import model as model_lib
from trainer.backbones import BACKBONES
from trainer.parameters import PRETRAINED, Backbone, ModelParameters
from trainer.signatures import TriageModule
from trainer.tracing import without_autograph

SIDE = 224


@without_autograph
def network(backbone: Backbone) -> model_lib.Network:
    """Builds the triage network for images of SIDE pixels."""
    if backbone not in PRETRAINED:
        return model_lib.build(ModelParameters(backbone=backbone, image_size=SIDE))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / f'{backbone}.weights.h5')
        BACKBONES[backbone].build(SIDE, None).save_weights(path)
        return model_lib.build(ModelParameters(backbone=backbone, weights=path, image_size=SIDE))


def main(argv: Sequence[str] | None = None) -> None:
    """Exports a model as the trainer does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('backbone', choices=get_args(Backbone))
    parser.add_argument('model')
    args = parser.parse_args(argv)
    TriageModule(network(args.backbone), SIDE, [calibration.NONE], 0.5, args.backbone).export(
        args.model
    )


if __name__ == '__main__':
    main()
