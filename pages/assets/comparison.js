// Compares two runs: the metrics of every slice, and the facts that differ.
(function () {
  'use strict';
  const {runs} = JSON.parse(document.getElementById('comparison-data').textContent);
  const byId = (id) => document.getElementById(id);
  const [selectA, selectB, selectMetric] = [byId('run-a'), byId('run-b'), byId('metric')];

  function options(select, titles, selected) {
    select.replaceChildren(
      ...titles.map((title, index) => new Option(title, index, false, index === selected)),
    );
  }

  function row(body, cells, numbers) {
    const line = body.insertRow();
    for (const [index, content] of cells.entries()) {
      const cell = line.insertCell();
      cell.textContent = content;
      cell.className = numbers && index ? 'n' : 'wrap';
    }
  }

  function note(id, text) {
    byId(id).hidden = !text;
    byId(id).textContent = text;
  }

  const figureText = (metric) => {
    if (!metric || metric[0] === null) return 'not defined';
    const [value, lower, upper] = metric;
    const interval =
      lower === null || upper === null ? '' : ` (${lower.toFixed(3)} – ${upper.toFixed(3)})`;
    return value.toFixed(3) + interval;
  };

  function figures(a, b) {
    const table = byId('compare-table');
    if (!table) return;
    const metric = metrics[selectMetric.value];
    const body = document.createElement('tbody');
    table.tBodies[0].replaceWith(body);
    for (const title of new Set([...Object.keys(a.slices), ...Object.keys(b.slices)])) {
      const [inA, inB] = [(a.slices[title] || {})[metric], (b.slices[title] || {})[metric]];
      const change = inA && inB && inA[0] !== null && inB[0] !== null ? inB[0] - inA[0] : null;
      row(
        body,
        [
          title,
          figureText(inA),
          figureText(inB),
          change === null ? '–' : (change > 0 ? '+' : '') + change.toFixed(3),
        ],
        true,
      );
    }
    const without = [
      ['A', a],
      ['B', b],
    ]
      .filter(([, run]) => !Object.keys(run.slices).length)
      .map(([name]) => name);
    note(
      'compare-note',
      without.length
        ? `${without.join(' and ')} did not finish the Evaluator: there are no metrics.`
        : '',
    );
  }

  function facts(a, b) {
    const body = document.createElement('tbody');
    byId('facts-table').tBodies[0].replaceWith(body);
    const names = [...new Set([...Object.keys(a.facts), ...Object.keys(b.facts)])]
      .sort()
      .filter((name) => a.facts[name] !== b.facts[name]);
    for (const name of names) row(body, [name, a.facts[name] ?? '–', b.facts[name] ?? '–'], false);
    byId('facts-table').closest('.scroll').hidden = !names.length;
    note('facts-note', names.length ? '' : 'No recorded fact differs.');
  }

  function show() {
    const [a, b] = [runs[selectA.value], runs[selectB.value]];
    figures(a, b);
    facts(a, b);
  }

  const metrics = [
    ...new Set(
      runs.flatMap((run) => Object.values(run.slices).flatMap((slice) => Object.keys(slice))),
    ),
  ];
  // The newest two runs with different evaluations, or else the newest two runs.
  const byEvaluation = new Map(
    runs
      .map((run, index) => [run.evaluation, index])
      .filter(([evaluation]) => evaluation)
      .reverse(),
  );
  const measured = [...byEvaluation.values()].sort((one, other) => one - other);
  const [newest, before] = measured.length > 1 ? measured : [0, 1];
  const titles = runs.map((run) => run.title);
  options(selectA, titles, before);
  options(selectB, titles, newest);
  if (selectMetric) options(selectMetric, metrics, 0);
  for (const select of [selectA, selectB, selectMetric])
    if (select) select.addEventListener('change', show);
  show();
})();
