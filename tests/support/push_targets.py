"""Small stand-ins for models to push, in a module that imports in no time: other processes of the
tests use them too.
"""

from __future__ import annotations

from pathlib import Path

from components.pusher import push, target


def model(folder: Path, content: str = 'weights', size: int = 0) -> str:
    """A directory that looks like a SavedModel; what its files hold is of no interest to a push."""
    (folder / 'variables').mkdir(parents=True, exist_ok=True)
    (folder / 'saved_model.pb').write_text('graph')
    (folder / 'variables' / 'variables.data').write_bytes(content.encode() + b'\0' * size)
    return str(folder)


def maker(**fields):
    """What `publish` needs to make a manifest."""
    known = {
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
            **(known | fields),
        )

    return make


def publish(model_dir: str, directory: Path | str, **options) -> push.Pushed:
    """Pushes with a manifest of `maker()`."""
    return push.publish(model_dir, str(directory), maker(), **options)


def publish_many(directory: str, models: list[str], results) -> None:
    """Pushes one after the other and puts the versions into a queue."""
    results.put([publish(model_dir, directory).version for model_dir in models])
