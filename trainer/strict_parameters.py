"""The base class of every part of a configuration. No TensorFlow here.

It is in this package because both the trainer and the components use it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictParameters(BaseModel):
    """Parameters that refuse unknown keys, infinite numbers and changes.

    The text under each attribute is its description. `pipeline.config_reference` writes
    docs/configuration.md from it.
    """

    model_config = ConfigDict(
        extra='forbid',
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),  # keys such as model_name
        use_attribute_docstrings=True,
    )
