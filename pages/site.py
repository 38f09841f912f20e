"""Writes all pages of a root; the pages of a finished run are written once."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import jinja2
import tensorflow as tf
from google.protobuf import message

from components.data_audit.artifact import AUDIT_PAGE
from pages import (
    assets,
    card,
    card_build,
    card_sections,
    comparison,
    data_page,
    evaluation_page,
    files,
    front,
    gallery,
    lineage,
    lineage_page,
    measured,
    overview,
    predictions,
    printed,
    run_curves,
    threshold_page,
    training_page,
    verdict,
)
from pages import runs as runs_lib
from pages import store as store_lib
from pages.contents import contents
from pages.measured import Evaluation
from pages.runs import RUNNING, Run
from pipeline.run_root import RunRoot
from pipeline.steps import AUDIT, EVALUATOR
from schemas.signatures import PROBABILITY

FRONT = 'index.html'
RUN_PAGES = (
    ('Overview', 'index.html'),
    ('Evaluation', 'evaluation.html'),
    ('Threshold', 'threshold.html'),
    ('Gallery', 'gallery.html'),
    ('Data', 'data.html'),
    ('Model card', 'model_card.html'),
    ('Training', 'training.html'),
    ('Lineage', 'lineage.html'),
)
_SUMMARY = 'summary.json'
_FOLDER = Path(__file__).parent
# The errors from reading a damaged or partly deleted artifact. Such a run must not hide the others.
_DAMAGE = (ValueError, KeyError, TypeError, OSError, message.Error, tf.errors.OpError)


@dataclasses.dataclass(frozen=True)
class Written:
    """The result: the front page, the number of runs, and problems such as an incomplete card."""

    front: Path
    runs: int
    problems: tuple[str, ...]


def write(root: Path) -> Written:
    """Writes the pages of a root under `<root>/pages`.

    Example:
        >>> write(Path('runs/demo')).front
        PosixPath('runs/demo/pages/index.html')

    Raises:
      OSError: the pages cannot be written.
      RuntimeError: the metadata store cannot be read.
      assets.AssetError: a file of TFMA is missing.
    """
    target = RunRoot(root).pages
    target.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(target / '.lock'):
        runs = runs_lib.all_runs(store_lib.read(root))
        has_facets = assets.write(target / 'assets')
        site = _Site(root, target, has_facets, assets.digest())
        summaries = [site.run(run, runs[number + 1 :]) for number, run in enumerate(runs)]
        site.page(FRONT, 'index.html', 'front', None, front.context(root, summaries))
        site.page(
            'comparison.html', 'comparison.html', 'comparison', None, comparison.context(summaries)
        )
        _remove_deleted_runs(target / 'runs', {run.slug for run in runs})
    problems = [problem for summary in summaries for problem in summary['problems']]
    return Written(target / FRONT, len(runs), tuple(problems))


def _remove_deleted_runs(folder: Path, slugs: set[str]) -> None:
    """Removes the pages of runs that no longer exist."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in slugs:
            shutil.rmtree(path, ignore_errors=True)


class _Site:
    def __init__(self, root: Path, target: Path, has_facets: bool, code: str):
        self._root, self._target, self._facets, self._code = root, target, has_facets, code
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER / 'templates'),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            # A name without a value is an error, not an empty text on a page.
            undefined=jinja2.StrictUndefined,
        )
        self._templates.globals.update(
            marks=runs_lib.MARKS, contents=contents, print_style=printed.style
        )

    def page(
        self, path: str, template: str, page: str, run: Run | None, context: dict[str, Any]
    ) -> None:
        """Writes a page; `path` is relative to the folder of pages."""
        text = self._templates.get_template(template).render(
            up='../' * path.count('/'),
            page=page,
            run=run,
            run_pages=RUN_PAGES,
            identity=printed.identity(run) if run else f'Runs of {self._root}',
            root=str(self._root),
            written=f'{datetime.datetime.now():%Y-%m-%d %H:%M:%S}',
            facets=self._facets,
            **context,
        )
        files.write_text(self._target / path, text)

    def run(self, run: Run, older: list[Run]) -> dict[str, Any]:
        """Writes the pages of a run if they are missing or outdated, and returns its summary."""
        folder = self._target / 'runs' / run.slug
        earlier, previous = _served_before(run, older), verdict.previous(run, older)
        key = self._key(run, earlier, previous)
        with contextlib.suppress(OSError, ValueError):
            summary = json.loads((folder / _SUMMARY).read_text(encoding='utf-8'))
            if summary['key'] == key:
                return summary
        # The summary is written last; without it, all pages are written again.
        (folder / _SUMMARY).unlink(missing_ok=True)
        summary = self._write_run(run, older, earlier, previous, folder)
        files.write_text(folder / _SUMMARY, json.dumps({'key': key, **summary}, indent=1))
        return summary

    def _key(self, run: Run, *others: Run | None) -> str:
        executions = [
            (execution.id, execution.state, execution.ended.isoformat())
            for execution in run.executions.values()
        ]
        now = datetime.datetime.now().isoformat() if run.state == RUNNING else ''
        parts = [
            self._code,
            self._facets,
            run.state,
            run.reasons,
            run.label,
            run.note,
            executions,
            [other.slug if other else '' for other in others],
            str(self._root),
            now,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _write_run(
        self,
        run: Run,
        older: list[Run],
        earlier: Run | None,
        previous: Run | None,
        folder: Path,
    ) -> dict[str, Any]:
        problems: list[str] = []
        evaluation, why = _evaluation(run, problems)
        base = f'runs/{run.slug}'
        for file, build in self._builders(run, evaluation, why, earlier, previous):
            with _collected(problems, run, file) as messages:
                self.page(
                    f'{base}/{file}',
                    file if file != 'index.html' else 'run.html',
                    file,
                    run,
                    build(),
                )
            if messages:
                name = next(name for name, other in RUN_PAGES if other == file)
                self.page(
                    f'{base}/{file}',
                    'damaged.html',
                    file,
                    run,
                    {'problem': messages[0], 'name': name},
                )
        self._files(run, evaluation, folder)
        with _collected(problems, run, 'the predictions'):
            texts = predictions.files(evaluation) if evaluation else {}
            for name, text in texts.items():
                files.write_text(folder / name, text)
        with _collected(problems, run, 'the pictures of the gallery'):
            for name, content in gallery.pictures(evaluation) if evaluation else ():
                files.write_bytes(folder / gallery.FOLDER / name, content)
        with _collected(problems, run, 'the model card'):
            self._card(run, evaluation, why, older, base)
        summary: dict[str, Any] = {**overview.summary(run, evaluation), 'has_curves': False}
        with _collected(problems, run, 'the curves'):
            curves = run_curves.content(run, evaluation)
            files.write_text(folder / run_curves.FILE, run_curves.script(run.slug, curves))
            summary['has_curves'] = any(curves.values())
        with _collected(problems, run, 'the facts'):
            summary['facts'] = lineage.facts(run)
        return {**summary, 'problems': problems}

    def _builders(
        self,
        run: Run,
        evaluation: Evaluation | None,
        why: str,
        earlier: Run | None,
        previous: Run | None,
    ) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        yield 'index.html', lambda: overview.context(run, evaluation, previous)
        for file, build in (
            ('evaluation.html', evaluation_page.context),
            ('threshold.html', threshold_page.context),
        ):
            yield file, partial(_with_evaluation, build, run, evaluation, why)
        yield 'gallery.html', lambda: gallery.context(run, evaluation, why)
        yield 'data.html', lambda: data_page.context(run)
        yield 'training.html', lambda: training_page.context(run)
        yield 'lineage.html', lambda: lineage_page.context(run, earlier)

    def _files(self, run: Run, evaluation: Evaluation | None, folder: Path) -> None:
        for name, content in (evaluation_page.plot_files(evaluation) if evaluation else {}).items():
            files.write_text(folder / 'plots' / name, content)
        if source := run.path(AUDIT.name, 'audit', AUDIT_PAGE):
            with open(source, encoding='utf-8') as file:
                files.write_text(folder / AUDIT_PAGE, data_page.with_way_back(file.read(), run))

    def _card(
        self, run: Run, evaluation: Evaluation | None, why: str, older: list[Run], base: str
    ) -> None:
        """Writes the model card; if fields are missing, writes a page about them and raises."""
        path = f'{base}/model_card.html'
        if evaluation is None:
            self.page(
                path,
                'model_card.html',
                'model_card.html',
                run,
                {'missing': f'There is no model card: {why}'},
            )
            return
        try:
            model_card = card_build.build(run, evaluation, older)
        except card.CardError as error:
            self.page(
                path,
                'model_card.html',
                'model_card.html',
                run,
                {'missing': f'There is no model card. {error}'},
            )
            raise
        context = {
            'missing': '',
            'card': model_card,
            'sections': card_sections.sections(model_card),
            'plots': evaluation_page.output(evaluation, PROBABILITY),
            'figure': card_sections.figure,
        }
        self.page(path, 'model_card.html', 'model_card.html', run, context)
        files.write_text(self._target / base / 'model_card.md', card_sections.markdown(model_card))
        files.write_text(
            self._target / base / 'model_card.json', model_card.model_dump_json(indent=1) + '\n'
        )


def _with_evaluation(
    build: Callable[[Run, Evaluation], dict[str, Any]],
    run: Run,
    evaluation: Evaluation | None,
    why: str,
) -> dict[str, Any]:
    """The values of a page that needs an evaluation; without one, the page says why."""
    return {'missing': '', **build(run, evaluation)} if evaluation else {'missing': why}


def _served_before(run: Run, older: list[Run]) -> Run | None:
    """The last run before this one that served another model."""
    own = lineage.served_version(run)
    for other in older:
        version = lineage.served_version(other)
        if version and (own is None or version.version != own.version):
            return other
    return None


def _evaluation(run: Run, problems: list[str]) -> tuple[Evaluation | None, str]:
    """(evaluation, ''), or (None, reason) if there is none."""
    artifact = run.artifact(EVALUATOR.name, 'evaluation')
    if artifact is None:
        ending = '; '.join(run.reasons)
        return (
            None,
            f'this run did not finish its Evaluator. It ended as "{run.state}"'
            + (f': {ending}' if ending else '.'),
        )
    with _collected(problems, run, 'the evaluation') as messages:
        return measured.read(
            artifact.path, str(run.parameters(EVALUATOR.name).get('eval_config', '{}'))
        ), ''
    return None, messages[0]


@contextlib.contextmanager
def _collected(problems: list[str], run: Run, part: str) -> Iterator[list[str]]:
    """Collects errors of damaged artifacts, for the page and for the final report."""
    messages: list[str] = []
    try:
        yield messages
    except jinja2.TemplateError:
        raise
    except _DAMAGE as error:
        text = (
            f'{error}'
            if isinstance(error, card.CardError | measured.EvaluationError)
            else f'{type(error).__name__}: {error}'
        )
        messages.append(text)
        problems.append(
            text if isinstance(error, card.CardError) else f'run of {run.label}, {part}: {text}'
        )
