"""What the trainer can be told: the `model`, `train` and `operating_point` parts of a
configuration. No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Backbone = Literal[
    'scratch_cnn', 'mobilenet_v2', 'xception', 'vgg16', 'densenet121', 'efficientnet_v2_b0'
]
# Backbones that start from ImageNet weights; the others start from random ones.
PRETRAINED: tuple[str, ...] = (
    'mobilenet_v2',
    'xception',
    'vgg16',
    'densenet121',
    'efficientnet_v2_b0',
)
# The smallest image that Keras builds a backbone for, where that is above the 32 pixels of the
# others.
_MIN_SIDE = {'xception': 71}
Balance = Literal['none', 'weights', 'undersample']


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra='forbid', frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class ModelParameters(_Strict):
    """The network.

    Attributes:
      backbone: by name.
      weights: a path to ImageNet weights (`--weights`); without it the Keras cache is looked at,
        then a download is tried.
      image_size: pixels a side of what the network sees.
      dropout: share of the features dropped before the last layer while training.
      pooling: from the last feature map to one vector: `average`, or `attention`, which learns
        where to look.
      batch_norm: of a pretrained backbone: `frozen` as it is, or `trained` with the layers around
        it.
    """

    backbone: Backbone = 'mobilenet_v2'
    weights: str | None = None
    image_size: int = Field(224, ge=32, le=1024)
    dropout: float = Field(0.2, ge=0, lt=1)
    pooling: Literal['average', 'attention'] = 'average'
    batch_norm: Literal['frozen', 'trained'] = 'frozen'

    @model_validator(mode='after')
    def _large_enough(self) -> ModelParameters:
        least = _MIN_SIDE.get(self.backbone, 0)
        if self.image_size < least:
            raise ValueError(
                f'image_size {self.image_size} is too small for backbone {self.backbone!r}: at least {least}'
            )
        return self

    @model_validator(mode='after')
    def _weights_fit(self) -> ModelParameters:
        if self.weights and self.backbone not in PRETRAINED:
            raise ValueError(
                f'weights are given, but backbone {self.backbone!r} has none; backbones with weights: {", ".join(PRETRAINED)}'
            )
        return self


class AugmentationParameters(_Strict):
    """Largest random change of a training image; 0 turns one off. No horizontal flip: the heart has
    a side.
    """

    shift: float = Field(0.05, ge=0, le=0.5, description='share of the side')
    rotation: float = Field(7.0, ge=0, le=45, description='degrees')
    zoom: float = Field(0.1, ge=0, le=0.5, description='share')
    contrast: float = Field(0.15, ge=0, le=0.9, description='share')
    brightness: float = Field(0.08, ge=0, le=0.5, description='share of the full range')
    cutout: float = Field(
        0.0, ge=0, le=0.5, description='side of a square that is blotted out, share of the side'
    )


class TrainParameters(_Strict):
    """The training. Phase 1 fits the head on frozen features (pretrained backbones only), phase 2
    trains the upper part with it.
    """

    seed: int = Field(
        0,
        ge=0,
        le=2**32 - 1,
        description='of initial weights, order and augmentation; from 0 to 4294967295',
    )
    batch_size: int = Field(32, ge=1, description='images')
    head_first: bool = Field(True, description='whether there is a phase 1')
    epochs: int = Field(
        8, ge=0, description='of fine-tuning, or of all training of a backbone from scratch'
    )
    learning_rate: float = Field(
        2e-4, gt=0, description='of phase 2, after the warm-up; it falls to 0 along a cosine'
    )
    warmup_epochs: float = Field(
        2.0,
        ge=0,
        description='epochs of phase 2 in which the learning rate rises from 0; at most a quarter of them is used',
    )
    unfreeze_share: float = Field(
        0.6,
        ge=0,
        le=1,
        description='share of the backbone layers, from the top, that phase 2 trains',
    )
    patience: int | None = Field(
        None,
        ge=1,
        description='epochs without a better validation AUC before training stops, with the weights of the best epoch; '
        'null: all epochs, with the weights of the last',
    )
    balance: Balance = Field(
        'none',
        description='none; weights: both classes count alike in the loss; undersample: another draw of negatives each epoch',
    )
    negatives_per_positive: float = Field(3.0, gt=0, description='with balance undersample')
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description='labels 0 and 1 become this and 1 minus this'
    )
    focal_gamma: float = Field(0.0, ge=0, le=5, description='of focal loss; 0 is cross-entropy')
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description='decay a step of the moving average of the weights that is kept; 0 for none',
    )
    auxiliary_weight: float = Field(
        0.0, ge=0, description='of the findings in the loss, where the task does not ask for them'
    )
    max_steps_per_epoch: int | None = Field(
        None, ge=1, description='shortens epochs, for quick runs'
    )
    shuffle_buffer: int = Field(4096, ge=1, description='examples held to shuffle from')
    deterministic: bool = Field(
        True, description='the same seed gives the same result on a CPU, at some cost in speed'
    )
    augmentation: AugmentationParameters = AugmentationParameters()


class TuningParameters(_Strict):
    """The search for settings before the training, on train and val alone.

    Attributes:
      trials: short trainings to try; 0 for no search.
      epochs: of fine-tuning in each.
      learning_rate: lowest and highest.
      unfreeze_share: lowest and highest.
      dropout: lowest and highest.
    """

    trials: int = Field(0, ge=0)
    epochs: int = Field(3, ge=1)
    learning_rate: tuple[float, float] = (1e-5, 1e-3)
    unfreeze_share: tuple[float, float] = (0.2, 1.0)
    dropout: tuple[float, float] = (0.0, 0.5)

    @model_validator(mode='after')
    def _ranges(self) -> TuningParameters:
        limits = {
            'learning_rate': (1e-9, 1.0),
            'unfreeze_share': (0.0, 1.0),
            'dropout': (0.0, 0.99),
        }
        for name, (least, most) in limits.items():
            low, high = getattr(self, name)
            if not least <= low < high <= most:
                raise ValueError(
                    f'{name} is [{low:g}, {high:g}]: expected a lowest below a highest value, within [{least:g}, {most:g}]'
                )
        return self


class OperatingPointParameters(_Strict):
    """The threshold is the highest one that keeps this sensitivity on the calibration split."""

    sensitivity: float = Field(
        0.95,
        gt=0,
        le=1,
        description='share of abnormal films that are flagged on the calibration split',
    )


class TrainerParameters(_Strict):
    """All that the trainer reads from a configuration."""

    model: ModelParameters = ModelParameters()
    train: TrainParameters = TrainParameters()
    operating_point: OperatingPointParameters = OperatingPointParameters()

    @model_validator(mode='after')
    def _something_is_trained(self) -> TrainerParameters:
        check_something_is_trained(self.model, self.train)
        return self


def check_something_is_trained(model: ModelParameters, train: TrainParameters) -> None:
    """Refuses settings with neither of the two phases.

    Raises:
      ValueError: see above.
    """
    if train.epochs:
        return
    if model.backbone not in PRETRAINED:
        raise ValueError(
            f'train.epochs is 0, and backbone {model.backbone!r} starts from random weights: nothing would be trained. '
            f'Set train.epochs to 1 or more, or model.backbone to one of {", ".join(PRETRAINED)}'
        )
    if not train.head_first:
        raise ValueError(
            'train.epochs is 0 and train.head_first is false: nothing would be trained. Change one of them'
        )


def with_values(parameters: TrainerParameters, values: Mapping[str, float]) -> TrainerParameters:
    """The parameters with what a tuner found (setting -> value) laid over them."""
    of_model = {
        name: value for name, value in values.items() if name in ModelParameters.model_fields
    }
    of_train = {name: value for name, value in values.items() if name not in of_model}
    model, train = (
        parameters.model.model_copy(update=of_model),
        parameters.train.model_copy(update=of_train),
    )
    return parameters.model_copy(update={'model': model, 'train': train})
