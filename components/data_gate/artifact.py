"""The artifact that DataGate writes: a folder with `gate.json`."""

from __future__ import annotations

from tfx.types.artifact import Artifact

GATE_JSON = 'gate.json'


class DataBlessing(Artifact):
    """The verdict on the data, rule by rule; the layout of `gate.json` is described in
    components.data_gate.rules.

    The custom property `blessed` is 1 when every limit was kept.
    """

    TYPE_NAME = 'components.DataBlessing'
