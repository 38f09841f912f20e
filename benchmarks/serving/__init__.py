"""Benchmarks of the service, through the commands and the HTTP API that its users have.

Each module is a command, `python -m benchmarks.serving.NAME --help`; `python -m benchmarks.serving`
runs all.
"""
