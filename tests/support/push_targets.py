"""Small stand-ins for models to push.

The import is fast, because subprocesses of the tests also use this module.
"""

from __future__ import annotations

from pathlib import Path

from components.pusher import push, target


def model(folder: Path, content: str = 'weights', size: int = 0) -> str:
    """Writes a folder that looks like a SavedModel; a push does not read the content of files."""
    (folder / 'variables').mkdir(parents=True, exist_ok=True)
    (folder / 'saved_model.pb').write_text('graph')
    (folder / 'variables' / 'variables.data').write_bytes(content.encode() + b'\0' * size)
    return str(folder)


def maker(**fields):
    """Returns a function that makes a manifest, for `push.publish`; `fields` override defaults."""
    defaults = {
        'pipeline_name': 'p',
        'run_id': 'r',
        'candidate_key': 'key',
        'model_uri': '/trainer/model',
        'push_nonce': 'nonce',
    }

    def make(
        version: str, model_digest: str, files: dict[str, target.FileDigest]
    ) -> target.Manifest:
        return target.Manifest(
            version=version,
            model_digest=model_digest,
            files=files,
            pushed_at='2026-11-21T00:00:00+00:00',
            **(defaults | fields),
        )

    return make


def publish(model_dir: str, directory: Path | str, **options) -> push.Pushed:
    """Pushes a model with the default manifest of `maker`."""
    return push.publish(model_dir, str(directory), maker(), **options)


def publish_many(directory: str, models: list[str], results) -> None:
    """Pushes models in order and puts the list of their versions into a queue."""
    results.put([publish(model_dir, directory).version for model_dir in models])
