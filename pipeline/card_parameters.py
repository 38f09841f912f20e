"""The `card` part of a configuration: what people state for the model card."""

from __future__ import annotations

from pydantic import Field

from trainer.strict_parameters import StrictParameters


class CardParameters(StrictParameters):
    """Statements for the model card that no run can measure. The card marks what is not stated. A
    change of them neither trains nor evaluates again."""

    population: str | None = Field(None, min_length=1)
    """Whom the images show, e.g. adults of an emergency department, 2015 to 2020."""
    sites: str | None = Field(None, min_length=1)
    """Where the images were taken: hospitals, departments, makes of detector."""
    data_licence: str | None = Field(None, min_length=1)
    """Terms of use of the images and labels."""
    licence: str | None = Field(None, min_length=1)
    """Terms under which others may use the model."""
    owner: str | None = Field(None, min_length=1)
    """Who is responsible for the model."""
    contact: str | None = Field(None, min_length=1)
    """Where to report problems with the model, e.g. an e-mail address."""
    intended_users: str | None = Field(None, min_length=1)
    """Who may use the model, and with which training."""
