"""Tests. A package by name, since others install a `tests` of their own beside ours."""
