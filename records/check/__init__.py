"""Checks a data root without a pipeline: files, records, image headers, labels and metadata."""
