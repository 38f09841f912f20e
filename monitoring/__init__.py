"""Watches a served model: compares its traffic with a reference, and its answers with readings."""
