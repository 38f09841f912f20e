"""The gRPC methods of TF Serving that this project uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.api import messages


@dataclass(frozen=True)
class Method:
    """A unary method of a service, with the classes of its request and response."""

    service: str
    name: str
    request: Any
    response: Any

    @property
    def path(self) -> str:
        """As gRPC calls it."""
        return f'/{self.service}/{self.name}'


# How TF Serving begins its answer to an unknown label. Its code is that of any wrong request.
UNKNOWN_LABEL = 'Unrecognized servable version label'
_PREDICTION = 'tensorflow.serving.PredictionService'
_MODEL = 'tensorflow.serving.ModelService'
METHODS = {
    method.name: method
    for method in (
        Method(_PREDICTION, 'Predict', messages.PredictRequest, messages.PredictResponse),
        Method(
            _PREDICTION,
            'GetModelMetadata',
            messages.GetModelMetadataRequest,
            messages.GetModelMetadataResponse,
        ),
        Method(
            _MODEL,
            'GetModelStatus',
            messages.GetModelStatusRequest,
            messages.GetModelStatusResponse,
        ),
        Method(
            _MODEL,
            'HandleReloadConfigRequest',
            messages.ReloadConfigRequest,
            messages.ReloadConfigResponse,
        ),
    )
}
