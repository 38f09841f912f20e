"""Builds the installable package `cxr-triage`; also what Beam's --setup_file points to."""

import atexit
import os
import runpy
import shutil
import tempfile

from setuptools import find_packages, setup

PACKAGES = ('schemas', 'storage', 'trainer', 'records', 'components', 'pipeline', 'pages', 'cli')


def _go_where_it_can_be_packed() -> None:
    """setuptools writes beside setup.py. Where it may not, as in an image whose project is root's,
    a copy is packed.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    if os.access(here, os.W_OK):
        return
    copy = tempfile.mkdtemp(prefix='cxr-triage-')
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(here, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))
    os.chmod(copy, 0o700)
    os.chdir(copy)


_go_where_it_can_be_packed()
setup(
    name='cxr-triage',
    version=runpy.run_path(os.path.join('pipeline', '__init__.py'))['__version__'],
    description=(
        'Chest X-ray triage: NIH TFRecords in, a calibrated, gated normal-vs-abnormal model out '
        'to TF Serving'
    ),
    license='Apache-2.0',
    python_requires='>=3.10,<3.12',
    py_modules=['cxr_triage'],
    packages=find_packages(
        include=[pattern for name in PACKAGES for pattern in (name, f'{name}.*')]
    ),
    package_data={
        'pipeline': ['configs/*.yaml', '*.j2'],
        'schemas': ['*.pbtxt', '*.json'],
        'components.data_audit': ['*.html'],
        'components.serving_check': ['*.jpg'],
        'pages': ['assets/*', 'templates/*'],
    },
    # The versions that are tested together stand in requirements/*.txt; these are what the code
    # imports.
    install_requires=[
        'apache-beam[gcp]',
        'filelock',
        'google-crc32c',
        'h5py',
        'jinja2',
        'kfp>=2.5',
        'numpy',
        'pandas',
        'pillow',
        'psutil',
        'pydantic>=2',
        'pyyaml',
        'rich',
        'scipy',
        'simplejpeg',
        'tensorboard',
        'tensorflow-serving-api',
        'tf-keras',
        'tfx>=1.16,<1.22',
    ],
    entry_points={'console_scripts': ['cxr-triage = cxr_triage:main']},
)
