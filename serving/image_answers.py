"""Answers about images: the model's, or the reason for which an image is not assessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from schemas import image_status, not_assessed, signatures
from schemas.labels import FINDINGS
from serving import assessment, studies, uploads
from serving.api.client import ModelServer, ModelServerError, Prediction
from serving.database.tables import Image, Study
from serving.image_files import ImageFiles
from serving.served_versions import VersionInfo

# A request to the model server; far below the largest that it accepts.
_MAX_BATCH, _MAX_BATCH_BYTES = 16, 64 << 20


class ImageAnswers:
    """Asks the model server about images, and the gate at the same time, until `close`.

    Args:
      files: the uploaded images.
      server: the model server.
      model: the name of the model on the server.
      version_info: what is on record about a version.
      threads: how many callers ask at the same time.
    """

    def __init__(
        self,
        files: ImageFiles,
        server: ModelServer,
        model: str,
        version_info: Callable[[int], VersionInfo],
        threads: int,
    ):
        self._files, self._server, self._model = files, server, model
        self._version_info = version_info
        self._gate = ThreadPoolExecutor(threads, 'gate')
        # Versions of earlier releases, and the version that answered last, by label.
        self._without_embedding: set[int] = set()
        self._last: dict[str, int] = {}

    def close(self) -> None:
        """Ends the threads of the gate."""
        self._gate.shutdown()

    def ask(
        self, waiting: list[Study], label: str, refusals: dict[str, str]
    ) -> dict[str, studies.Outcome]:
        """Image id -> outcome, of the images of the studies.

        Args:
          waiting: the studies.
          label: of the version to ask; '' for the newest.
          refusals: gets image id -> message for each image that the model server refuses.

        Raises:
          ModelServerError: the server does not answer.
        """
        outcomes: dict[str, studies.Outcome] = {}
        reasons: dict[str, str] = {}
        version: int | None = None
        for batch in self._batches(waiting, reasons):
            # Meanwhile, as it takes some of the time of the model. Few images are refused.
            refused = self._gate.submit(_refused, batch)
            for prediction, row, image in self._predictions(batch, label, version, refusals):
                # A release in between must not give a study answers of two versions.
                version = prediction.version
                threshold = self._version_info(version).threshold
                outcomes[image.id] = _outcome(prediction, row, threshold)
            reasons |= refused.result()
        if reasons and version is None:
            version = self._last.get(label) or self._newest_version()
        for id, reason in reasons.items():
            outcomes[id] = studies.Outcome(version or 0, None, True, reason)
            refusals.pop(id, None)
        return outcomes

    def _batches(
        self, waiting: list[Study], reasons: dict[str, str]
    ) -> Iterator[list[tuple[Image, bytes]]]:
        """The images that can be read, in requests that the server accepts.

        Puts the others into `reasons`: image id -> reason.
        """
        batch: list[tuple[Image, bytes]] = []
        size = 0
        for image in (image for study in waiting for image in study.images):
            try:
                content = uploads.to_model_input(self._files.read(image.id), image.kind)
            except FileNotFoundError:
                reasons[image.id] = not_assessed.FILE_MISSING
                continue
            except uploads.UploadError:
                reasons[image.id] = image_status.UNDECODABLE
                continue
            if batch and (len(batch) == _MAX_BATCH or size + len(content) > _MAX_BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append((image, content))
            size += len(content)
        if batch:
            yield batch

    def _predictions(
        self,
        batch: list[tuple[Image, bytes]],
        label: str,
        version: int | None,
        refusals: dict[str, str],
    ) -> Iterator[tuple[Prediction, int, Image]]:
        """The prediction of each image, and its row there."""
        try:
            prediction = self._predict([content for _, content in batch], label, version)
        except ModelServerError as error:
            if error.is_temporary or error.is_missing:
                raise
            if len(batch) == 1:
                refusals[batch[0][0].id] = str(error)
                return
            # One image that the model refuses must not hold up the others.
            for single in batch:
                yield from self._predictions([single], label, version, refusals)
            return
        for row, (image, _) in enumerate(batch):
            yield prediction, row, image

    def _predict(self, contents: list[bytes], label: str, version: int | None) -> Prediction:
        """Scores with embeddings, or without them if the version has none."""

        def ask(signature: signatures.Signature) -> Prediction:
            return self._server.predict(
                self._model,
                signature.name,
                {signature.input: contents},
                version=version,
                label='' if version is not None else label,
            )

        expected = self._last.get(label) if version is None else version
        if expected in self._without_embedding:
            prediction = ask(signatures.IMAGES)
        else:
            try:
                prediction = ask(signatures.EMBED)
            except ModelServerError as error:
                if not error.has_no_signature:
                    raise
                prediction = ask(signatures.IMAGES)
                self._without_embedding.add(prediction.version)
        self._last[label] = prediction.version
        return prediction

    def _newest_version(self) -> int:
        statuses = self._server.versions(self._model)
        return max((s.version for s in statuses if s.state == 'AVAILABLE'), default=0)


def _refused(batch: list[tuple[Image, bytes]]) -> dict[str, str]:
    """Image id -> reason, of the images that the gate refuses."""
    reasons = {image.id: assessment.reason(content) for image, content in batch}
    return {id: reason for id, reason in reasons.items() if reason}


def _outcome(prediction: Prediction, row: int, threshold: float | None) -> studies.Outcome:
    outputs = prediction.outputs
    status = bytes(outputs[signatures.STATUS][row]).decode()
    if status != image_status.OK:
        return studies.Outcome(prediction.version, None, True, status, threshold)
    embedding = outputs.get(signatures.EMBEDDING)
    findings = {name: float(outputs[name][row]) for name in FINDINGS if name in outputs}
    return studies.Outcome(
        prediction.version,
        float(outputs[signatures.PROBABILITY][row]),
        bool(np.round(outputs[signatures.FLAG][row])),
        '',
        threshold,
        findings,
        None if embedding is None else embedding[row].astype('<f4').tobytes(),
    )
