"""Packages the project of pyproject.toml for Beam, whose --setup_file needs a setup.py."""

import atexit
import os
import shutil
import tempfile

from setuptools import setup

# setuptools writes next to setup.py. If that folder is read-only, as in an image, it uses a copy.
project = os.path.dirname(os.path.abspath(__file__))
if not os.access(project, os.W_OK):
    copy = tempfile.mkdtemp(prefix='cxr-triage-')
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(project, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))
    os.chmod(copy, 0o700)
    os.chdir(copy)

setup()
