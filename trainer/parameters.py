"""Parameters of the trainer and the tuner. No TensorFlow here.

They are the `model`, `train`, `tuning` and `operating_point` parts of a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from trainer.strict_parameters import StrictParameters

Backbone = Literal[
    'scratch_cnn', 'mobilenet_v2', 'xception', 'vgg16', 'densenet121', 'efficientnet_v2_b0'
]
# Backbones that start from ImageNet weights.
PRETRAINED: tuple[str, ...] = (
    'mobilenet_v2',
    'xception',
    'vgg16',
    'densenet121',
    'efficientnet_v2_b0',
)
# The smallest image side of a backbone in pixels, if it is above 32.
_MIN_SIDE = {'xception': 71}
Balance = Literal['none', 'weights', 'undersample']


class ModelParameters(StrictParameters):
    """The network: a backbone with pooling and a head on top."""

    backbone: Backbone = 'mobilenet_v2'
    """The convolutional network that turns an image into features. `scratch_cnn` is small and
    starts from random weights; the others start from ImageNet weights."""
    weights: str | None = None
    """Path to a file with the backbone's ImageNet weights, without its top (`--weights`). With
    null, Keras takes them from its cache or downloads them."""
    image_size: int = Field(224, ge=32, le=1024)
    """Width and height in pixels to which every image is resized. `xception` needs at least 71."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the pooled features that is set to 0 in each training step."""
    pooling: Literal['average', 'attention'] = 'average'
    """How the feature map becomes one vector: `average` weights all positions equally, `attention`
    learns their weights."""
    batch_norm: Literal['frozen', 'trained'] = 'frozen'
    """Whether the batch normalisation of a pretrained backbone keeps its ImageNet statistics
    (`frozen`) or is trained with the layers around it (`trained`)."""

    @model_validator(mode='after')
    def _large_enough(self) -> ModelParameters:
        minimum = _MIN_SIDE.get(self.backbone, 0)
        if self.image_size < minimum:
            raise ValueError(
                f'image_size {self.image_size} is too small for backbone {self.backbone!r}, which '
                f'needs at least {minimum}'
            )
        return self

    @model_validator(mode='after')
    def _weights_fit(self) -> ModelParameters:
        if self.weights and self.backbone not in PRETRAINED:
            raise ValueError(
                f'weights are set, but backbone {self.backbone!r} has none; '
                f'backbones with weights: {", ".join(PRETRAINED)}'
            )
        return self


class AugmentationParameters(StrictParameters):
    """Largest random changes of a training image; 0 turns a change off.

    Images are never flipped: that would move the heart to the other side.
    """

    shift: float = Field(0.05, ge=0, le=0.5)
    """Largest shift in each direction, as a share of the image's side."""
    rotation: float = Field(7.0, ge=0, le=45)
    """Largest rotation in either direction, in degrees."""
    zoom: float = Field(0.1, ge=0, le=0.5)
    """Largest change of size: 0.1 zooms by a factor between 0.9 and 1.1."""
    contrast: float = Field(0.15, ge=0, le=0.9)
    """Largest change of contrast: 0.15 scales it by a factor between 0.85 and 1.15."""
    brightness: float = Field(0.08, ge=0, le=0.5)
    """Largest change of brightness, as a share of the full range of grey levels."""
    cutout: float = Field(0.0, ge=0, le=0.5)
    """Side of a square at a random position that gets the image's mean grey level, as a
    share of the image's side."""


class TrainParameters(StrictParameters):
    """The training, in two phases.

    Phase 1 fits the head on frozen features (pretrained backbones only). Phase 2 fine-tunes the
    upper part of the backbone together with the head.
    """

    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed of the initial weights, the order of the images and the augmentation."""
    batch_size: int = Field(32, ge=1)
    """Images per training step."""
    head_first: bool = True
    """Whether phase 1 runs before phase 2."""
    warm_start: Literal['none', 'served'] = 'none'
    """`served` starts from the weights of the served model, head included, and skips phase 1; its
    backbone, image size, pooling and labels have to be the same. `none` starts from ImageNet
    weights, or from random ones for a backbone from scratch."""
    epochs: int = Field(8, ge=0)
    """Epochs of phase 2; for a backbone from scratch, epochs of the whole training. 0 trains the
    head only."""
    learning_rate: float = Field(2e-4, gt=0)
    """Highest learning rate of phase 2, reached after the warm-up. It then falls to 0 along a
    cosine."""
    warmup_epochs: float = Field(2.0, ge=0)
    """Epochs of phase 2 in which the learning rate rises from 0; at most a quarter of `epochs` is
    used."""
    unfreeze_share: float = Field(0.6, ge=0, le=1)
    """Share of the backbone's layers, counted from the top, that phase 2 trains."""
    patience: int | None = Field(None, ge=1)
    """Epochs without a better validation AUC after which training stops; the best epoch's weights
    are then used. With null, all epochs run and the last one's weights are used."""
    balance: Balance = 'none'
    """How the classes are balanced: `weights` gives both the same total weight in the loss,
    `undersample` draws new negatives in each epoch, `none` leaves them as they are."""
    negatives_per_positive: float = Field(3.0, gt=0)
    """Negative images per positive one in an epoch; used with `balance: undersample` only."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Amount s of label smoothing: labels 0 and 1 become s and 1 - s in the loss."""
    focal_gamma: float = Field(0.0, ge=0, le=5)
    """Exponent of the focal loss; higher values favour images that are hard to classify, and 0 is
    plain cross-entropy."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay per step of the moving average of the weights, which the model uses; 0 uses the
    weights themselves."""
    auxiliary_weight: float = Field(0.0, ge=0)
    """Total weight in the loss of the findings that the task does not predict; 0 ignores them."""
    max_steps_per_epoch: int | None = Field(None, ge=1)
    """Maximum number of steps in an epoch, to shorten test runs; null for no maximum."""
    shuffle_buffer: int = Field(4096, ge=1)
    """Examples held in memory to shuffle from; more mix better and need more memory."""
    deterministic: bool = True
    """Whether the same seed gives exactly the same model on a CPU, which costs some speed."""
    augmentation: AugmentationParameters = AugmentationParameters()


class TuningParameters(StrictParameters):
    """The search for settings before the training. It uses the train and val splits only."""

    trials: int = Field(0, ge=0)
    """Short trainings to run, each with other settings; 0 skips the search."""
    epochs: int = Field(3, ge=1)
    """Epochs of phase 2 in each trial."""
    learning_rate: tuple[float, float] = (1e-5, 1e-3)
    """Lowest and highest `train.learning_rate` to try, within 1e-9 and 1; drawn on a logarithmic
    scale."""
    unfreeze_share: tuple[float, float] = (0.2, 1.0)
    """Lowest and highest `train.unfreeze_share` to try, within 0 and 1."""
    dropout: tuple[float, float] = (0.0, 0.5)
    """Lowest and highest `model.dropout` to try, within 0 and 0.99."""

    @model_validator(mode='after')
    def _ranges(self) -> TuningParameters:
        limits = {
            'learning_rate': (1e-9, 1.0),
            'unfreeze_share': (0.0, 1.0),
            'dropout': (0.0, 0.99),
        }
        for name, (minimum, maximum) in limits.items():
            low, high = getattr(self, name)
            if not minimum <= low < high <= maximum:
                raise ValueError(
                    f'{name} is [{low:g}, {high:g}]: expected a lower and a higher value '
                    f'within [{minimum:g}, {maximum:g}]'
                )
        return self


class OperatingPointParameters(StrictParameters):
    """The operating point: the highest threshold with this sensitivity on the calibration split."""

    sensitivity: float = Field(0.95, gt=0, le=1)
    """Share of the positive images of the calibration split that are flagged."""


class TrainerParameters(StrictParameters):
    """All parts of a configuration that the trainer reads."""

    model: ModelParameters = ModelParameters()
    train: TrainParameters = TrainParameters()
    operating_point: OperatingPointParameters = OperatingPointParameters()

    @model_validator(mode='after')
    def _trains_something(self) -> TrainerParameters:
        check_something_is_trained(self.model, self.train)
        return self


def check_something_is_trained(model: ModelParameters, train: TrainParameters) -> None:
    """Refuses settings that run neither phase of the training.

    Raises:
      ValueError: nothing would be trained.
    """
    if train.epochs:
        return
    if train.warm_start != 'none':
        raise ValueError(
            'train.epochs is 0, and train.warm_start skips the phase that trains the head only: '
            'nothing would be trained. Set train.epochs to 1 or more, or train.warm_start to none'
        )
    if model.backbone not in PRETRAINED:
        raise ValueError(
            f'train.epochs is 0, and backbone {model.backbone!r} starts from random weights: '
            'nothing would be trained. Set train.epochs to 1 or more, or model.backbone to one of '
            f'{", ".join(PRETRAINED)}'
        )
    if not train.head_first:
        raise ValueError(
            'train.epochs is 0 and train.head_first is false: nothing would be trained. Change one '
            'of them'
        )


def with_values(parameters: TrainerParameters, values: Mapping[str, float]) -> TrainerParameters:
    """Replaces parameters with the best values of a tuner, by name."""
    model_values = {
        name: value for name, value in values.items() if name in ModelParameters.model_fields
    }
    train_values = {name: value for name, value in values.items() if name not in model_values}
    model, train = (
        parameters.model.model_copy(update=model_values),
        parameters.train.model_copy(update=train_values),
    )
    return parameters.model_copy(update={'model': model, 'train': train})
