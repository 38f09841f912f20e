"""Chooses a Python and fills `.venv` from a lock file. Standard library alone, Python 3.8 or newer,
since nothing is installed yet.
"""
