"""Audits a data root without running a pipeline: every file, record, image header, label and
metadata line, and how they agree.
"""
