"""The graph of a lineage: which boxes and lines it has, that they do not collide, and its links."""

from __future__ import annotations

from pages import lineage_graph, lineage_page, runs, store
from pages.lineage_graph import Graph
from tests.support.synthetic_root import STATES, RootBuilder

FIRST, SECOND = '2026-11-21T22:25:35.123456', '2026-11-22T08:00:00.000001'


def _graph(builder: RootBuilder, number: int = 0) -> Graph:
    run = runs.all_runs(store.read(builder.root))[number]
    graph = lineage_page.context(run, None)['graph']
    assert graph is not None
    return graph


def _train(builder: RootBuilder, run: str) -> dict[str, int]:
    """Ingestion, two steps that read the examples, and training."""
    data = builder.step(run, 'XrayExampleGen', outputs={'examples': {}, 'report': {}})
    audit = builder.step(
        run, 'DataAudit', inputs={'examples': [data['examples']]}, outputs={'audit': {}}
    )
    model = builder.step(
        run, 'Trainer', inputs={'examples': [data['examples']]}, outputs={'model': {}}
    )
    return {**data, **audit, **model}


def test_a_line_leads_from_an_artifact_to_each_step_that_read_it(builder: RootBuilder):
    _train(builder, FIRST)
    graph = _graph(builder)
    ingestion, audit, trainer = graph.boxes
    assert [box.title for box in graph.boxes] == ['XrayExampleGen', 'DataAudit', 'Trainer']
    (lane,) = graph.lanes
    assert lane.start == ingestion.rows[0].y and lane.ends == (audit.port, trainer.port)
    assert lane.text == 'examples #1 of XrayExampleGen'
    assert graph.arrows == ((audit.port, lane.x), (trainer.port, lane.x))


def test_boxes_and_lines_do_not_collide(builder: RootBuilder):
    ids: list[int] = []
    for step in ('XrayExampleGen', 'DataAudit', 'Transform', 'Trainer', 'Evaluator', 'Pusher'):
        outputs = builder.step(
            FIRST, step, inputs={'all': ids} if ids else None, outputs={'a': {}, 'b': {}}
        )
        ids = [*ids, *outputs.values()]
    graph = _graph(builder)
    assert len(graph.lanes) == 10
    for above, below in zip(graph.boxes, graph.boxes[1:], strict=False):
        assert above.y + above.height < below.y
        assert all(above.y < row.y < above.y + above.height for row in above.rows)
    for one in graph.lanes:
        assert graph.box < one.x < graph.width
        for other in graph.lanes:
            if one is not other and one.x == other.x:
                assert one.ends[-1] < other.start or other.ends[-1] < one.start
    assert graph.boxes[-1].y + graph.boxes[-1].height <= graph.height


def test_a_pushed_version_is_the_last_box(builder: RootBuilder):
    model = _train(builder, FIRST)['model']
    builder.step(
        FIRST,
        'Pusher',
        inputs={'model': [model]},
        outputs={'pushed_model': {'pushed': 1, 'pushed_version': '7'}},
    )
    builder.record(FIRST, state='pushed')
    graph = _graph(builder)
    version = graph.boxes[-1]
    assert (version.title, version.kind, version.href) == (
        'Version 7',
        'version',
        'model_card.html',
    )
    assert version.port in [lane.ends[-1] for lane in graph.lanes]


def test_a_cached_step_links_to_the_run_that_executed_it(builder: RootBuilder):
    ids = _train(builder, FIRST)
    builder.step(SECOND, 'XrayExampleGen', STATES.CACHED, reused={'examples': [ids['examples']]})
    builder.step(SECOND, 'Trainer', STATES.FAILED, inputs={'examples': [ids['examples']]})
    ingestion, trainer = _graph(builder).boxes
    assert ingestion.run == (
        '2026-11-21 22:25:35',
        '../2026-11-21T22-25-35-123456/index.html',
    )
    assert (trainer.run, trainer.note, trainer.kind) == (None, '✗ failed', 'failed')


def test_links_lead_to_what_the_pages_have(builder: RootBuilder):
    _train(builder, FIRST)
    boxes = {box.title: box for box in _graph(builder).boxes}
    assert boxes['DataAudit'].href == 'data.html#problems'
    assert [row.href for row in boxes['Trainer'].rows] == ['model_card.html']


def test_the_version_behind_a_baseline_is_named_and_linked(builder: RootBuilder):
    builder.step(FIRST, 'Baseline', outputs={'model': {'served_version': '6'}})
    (run,) = runs.all_runs(store.read(builder.root))
    links = lineage_page._links(run)
    graph = lineage_graph.graph(run, links, versions={'6': '../x/model_card.html'})
    assert graph is not None
    (row,) = graph.boxes[0].rows
    assert (row.text, row.href) == ('model #1: version 6', '../x/model_card.html')


def test_a_run_without_steps_has_no_graph(builder: RootBuilder):
    builder.begin(FIRST)
    (run,) = runs.all_runs(store.read(builder.root))
    assert lineage_page.context(run, None)['graph'] is None
