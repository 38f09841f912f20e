"""Reads DICOM radiographs, for `convert`, `check`, `predict` and the gateway.

- `reader`: reads a file; start here.
- `header`: the data set, read at a bounded cost.
- `rules`: what is accepted, accepted with a note, or refused; docs/dicom.md has the table.
- `pixels`: the stored values.
- `display`: the 8-bit image that a viewer shows.
- `attributes`: patient, age, sex, view position.
- `deidentify`: what is kept of a file.
"""
