"""Packs the project of pyproject.toml for Beam, whose --setup_file takes only a setup.py."""

import atexit
import os
import shutil
import tempfile

from setuptools import setup

# setuptools writes beside setup.py. Where it may not, as in a container image, it packs a copy.
project = os.path.dirname(os.path.abspath(__file__))
if not os.access(project, os.W_OK):
    copy = tempfile.mkdtemp(prefix='cxr-triage-')
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(project, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))
    os.chmod(copy, 0o700)
    os.chdir(copy)

setup()
