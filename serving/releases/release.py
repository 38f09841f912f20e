"""Releases versions: moves the labels `stable` and `canary`, and removes old versions.

A release writes the model config file, has the server load it, and checks the version before its
label moves. If anything fails, the old file is put back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.pusher import delivery, journal
from components.pusher import target as push_target
from serving import person, served_versions
from serving.api.client import ModelServer, ModelServerError
from serving.releases import (
    CANARY,
    STABLE,
    ReleaseError,
    config_file,
    intent,
    loading,
    samples,
)
from storage.folder_lock import FolderLock, HeldError

_LOCK, _LOCK_OWNER = '.release.lock', '.release.lock-owner'
# How long a person's hold waits for a release that is under way.
_HOLD_S = 300.0


@dataclass(frozen=True)
class Releases:
    """The labels of one model.

    Attributes:
      target: the push directory, a folder of this machine.
      model: its name on the model server.
      server: the running model server; None changes the file alone.
      config: the model config file; by default the one in the push directory. A file of a
        Kubernetes overlay keeps its own `base_path`.
      timeout_s: seconds that a version may take to load.
    """

    target: Path
    model: str
    server: ModelServer | None = None
    config: Path | None = None
    timeout_s: float = 120.0

    @property
    def config_path(self) -> Path:
        """The model config file."""
        return self.config or self.target / push_target.MODEL_CONFIG

    def labels(self) -> dict[str, int]:
        """Label -> version.

        Raises:
          ReleaseError: the model config file cannot be read, or is of another model.
        """
        if not self.config_path.exists():
            return {}
        try:
            config = config_file.read(self.config_path)
        except config_file.ConfigFileError as error:
            raise ReleaseError(str(error)) from None
        names = config_file.models(config)
        if names and self.model not in names:
            raise ReleaseError(
                f'{self.config_path} serves the model {", ".join(names)}, not {self.model}: give '
                f'--model {names[0]}, or delete the file to serve the versions as {self.model}'
            )
        return config_file.labels(config, self.model)

    def ensure(self) -> Path:
        """The model config file; if there is none, one that serves the newest version as stable."""
        if not self.labels():
            versions = push_target.versions(str(self.target))
            if not versions:
                raise ReleaseError(
                    f'{self.target}: no version was pushed there; run the pipeline first'
                )
            self.move('promote', STABLE, int(versions[-1].version), 'the first version')
        return self.config_path

    def promote(
        self, version: int | None, why: str, only_if: Mapping[str, int] | None = None
    ) -> int:
        """Serves a version as stable; None means the canary, or the newest version without one.

        `only_if` makes it an automatic decision, see `move`.
        """
        labels = self.labels()
        if version is None:
            version = labels.get(CANARY) or self.newest()
        self.move('promote', STABLE, version, why, drop=CANARY, only_if=only_if)
        return version

    def canary(self, version: int | None, why: str) -> int:
        """Serves a version as canary beside the stable one; None means the newest."""
        version = version or self.newest()
        self.move('canary', CANARY, version, why)
        return version

    def withdraw(self, why: str, only_if: Mapping[str, int] | None = None) -> int:
        """Takes the label `canary` away, and returns which version had it; see `move`."""
        version = self.labels().get(CANARY)
        if version is None:
            raise ReleaseError(f'{self.config_path}: no version is canary')
        self.move('withdraw', CANARY, None, why, drop=CANARY, only_if=only_if)
        return version

    def hold(self, why: str) -> None:
        """Stops automatic decisions until `resume`; waits for one that is under way."""
        self._note(journal.HOLD, why)

    def resume(self, why: str) -> None:
        """Allows automatic decisions again."""
        self._note(journal.RESUME, why)

    def _note(self, action: str, why: str) -> None:
        with self._locked(_HOLD_S):
            version = self.labels().get(CANARY)
            self._record(self._entry(action, CANARY, version, version, why))

    def rollback(self, why: str) -> int:
        """Serves the version again that was stable before, and ends a canary."""
        stable = self.labels().get(STABLE)
        if stable is None:
            raise ReleaseError(f'{self.config_path}: no version is stable; promote one')
        earlier = [
            entry.before
            for entry in journal.read(self.target)
            if entry.label == STABLE and entry.after == stable and entry.before is not None
        ]
        if not earlier:
            raise ReleaseError(f'{self.target}: no version was stable before {stable}')
        self.move('rollback', STABLE, earlier[-1], why, drop=CANARY)
        return earlier[-1]

    def prune(self, keep: int, why: str) -> list[int]:
        """Deletes old versions, except the newest `keep` and all that have a label.

        Also kept is the version to which `rollback` would lead. Returns what was deleted.
        """
        with self._locked():
            numbers = [int(v.version) for v in push_target.versions(str(self.target))]
            kept = {*self.labels().values(), *(numbers[-keep:] if keep > 0 else [])}
            before = [e.before for e in journal.read(self.target) if e.label == STABLE]
            kept.update(version for version in before[-1:] if version is not None)
            removed = [number for number in numbers if number not in kept]
            for number in removed:
                delivery.remove_version(str(self.target / str(number)))
                self._record(self._entry('prune', '', number, None, why))
        return removed

    def move(
        self,
        action: str,
        label: str,
        version: int | None,
        why: str,
        drop: str = '',
        only_if: Mapping[str, int] | None = None,
    ) -> None:
        """Points a label to a version, after the version has been checked.

        Args:
          action: for the record.
          label: stable or canary.
          version: its number; None only removes labels.
          why: for the record.
          drop: a label to remove.
          only_if: labels that must still be in force. This makes it an automatic decision, which
            gives way to a person.

        Raises:
          ReleaseError: the version is damaged, cannot be loaded or answers its sample images in
            another way, or a person has intervened; nothing has changed then.
        """
        with self._locked():
            labels = self.labels()
            if only_if is not None:
                self._check_nobody_intervened(only_if, labels)
            after = {name: number for name, number in labels.items() if name != drop}
            if version is not None:
                after[label] = version
                self._check_files(version)
                if self.server is not None:
                    self._check_on_server(self.server, labels, version)
            entry = self._entry(action, label, labels.get(label), version, why)
            try:
                intent.write(self.target, entry, after)
                self._write(after)
                if self.server is not None:
                    self.server.reload(self._config(after))
                self._record(entry)
            except (ModelServerError, OSError) as error:
                self._restore(labels)
                intent.remove(self.target)
                raise ReleaseError(f'{error}. The old configuration is in force again') from None
            intent.remove(self.target)

    def _check_nobody_intervened(self, seen: Mapping[str, int], labels: Mapping[str, int]) -> None:
        if dict(seen) != dict(labels):
            raise ReleaseError(f'the labels have changed meanwhile: they are {dict(labels)} now')
        if hold := journal.held(journal.read(self.target)):
            raise ReleaseError(f'{hold.who} has stopped automatic decisions: {hold.why}')

    def _finish(self) -> None:
        """Records a release that took effect and was killed before it could be recorded."""
        killed = intent.read(self.target)
        if killed is None:
            return
        entry, labels = killed
        if labels == self.labels() and entry not in journal.read(self.target):
            self._record(entry)
            if self.server is not None:
                # It may have been killed before the server learned of it.
                with contextlib.suppress(ModelServerError):
                    self.server.reload(self._config(labels))
        intent.remove(self.target)

    def _check_files(self, version: int) -> None:
        path = self.target / str(version)
        if not path.is_dir():
            numbers = ', '.join(v.version for v in push_target.versions(str(self.target))) or 'none'
            raise ReleaseError(f'{path}: no such version; there are: {numbers}')
        try:
            problems = push_target.verify(str(path))
        except push_target.TargetError as error:
            problems = [str(error)]
        if problems:
            raise ReleaseError(f'{path} is not what was pushed: {"; ".join(problems[:3])}')

    def _check_on_server(
        self, server: ModelServer, labels: Mapping[str, int], version: int
    ) -> None:
        """Loads a version beside the served ones, without a label, and asks it."""
        try:
            loading.load(
                server, self.model, version, self._config(labels, {version}), self.timeout_s
            )
            if problems := samples.check(server, self.model, version, self.target / str(version)):
                raise ReleaseError(f'version {version}: {"; ".join(problems[:3])}')
        except (ModelServerError, ReleaseError) as error:
            self._restore(labels)
            raise ReleaseError(f'{error}. The old configuration is in force again') from None

    def _restore(self, labels: Mapping[str, int]) -> None:
        if labels:
            self._write(labels)
            if self.server is not None:
                with contextlib.suppress(ModelServerError):
                    self.server.reload(self._config(labels))

    def _config(self, labels: Mapping[str, int], more: Collection[int] = ()) -> Any:
        base_path, others = str(self.target.resolve()), []
        if self.config_path.exists():
            old = config_file.read(self.config_path)
            others = config_file.others(old, self.model)
            if self.config is not None:
                base_path = config_file.base_path(old, self.model) or base_path
        return config_file.build(self.model, base_path, labels, more, others)

    def _write(self, labels: Mapping[str, int]) -> None:
        config_file.write(self.config_path, self._config(labels))

    def newest(self) -> int:
        """The newest version in the push directory."""
        infos = served_versions.read_all(str(self.target))
        if not infos:
            raise ReleaseError(f'{self.target}: no version was pushed there')
        return infos[-1].version

    def _entry(
        self, action: str, label: str, before: int | None, after: int | None, why: str
    ) -> journal.Entry:
        return journal.Entry(journal.now(), person.name(), action, label, before, after, why)

    def _record(self, entry: journal.Entry) -> None:
        journal.append(self.target, entry)

    @contextlib.contextmanager
    def _locked(self, timeout_s: float = 0.0) -> Iterator[None]:
        lock = FolderLock(str(self.target / _LOCK), str(self.target / _LOCK_OWNER))
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock.held(timeout_s))
            except HeldError as error:
                raise ReleaseError(
                    f'{self.target}: another release is under way ({error})'
                ) from None
            self._finish()
            yield
