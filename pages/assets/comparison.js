// Compares the selected runs: the metrics of every slice, their curves, and the facts that differ.
(function () {
  'use strict';
  // As many as the style sheet has lines that differ in colour and dash.
  const MOST_CURVES = 6;
  const {runs, setting} = JSON.parse(document.getElementById('comparison-data').textContent);
  const byId = (id) => document.getElementById(id);
  const bySlug = new Map(runs.map((run) => [run.slug, run]));
  const [selectReference, selectMetric] = [byId('reference'), byId('metric')];
  const [selectOutput, selectSplit] = [byId('curve-output'), byId('curve-split')];
  const curves = new Map();

  function make(name, text = '', className = '') {
    const element = document.createElement(name);
    element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function note(id, lines) {
    byId(id).hidden = !lines.length;
    byId(id).textContent = lines.join('\n');
  }

  function options(select, titles, values, value) {
    select.replaceChildren(...titles.map((title, index) => new Option(title, values[index])));
    select.value = values.includes(value) ? value : values[0];
  }

  function headings(table, first, chosen) {
    const cells = chosen.map((run) => {
      const cell = make('th', run.label, table.id === 'compare-table' ? 'n' : '');
      if (run === reference()) cell.append(make('small', 'compared with this run'));
      return cell;
    });
    table.tHead.rows[0].replaceChildren(make('th', first), ...cells);
  }

  // ---- The selection, kept in the address

  const hash = window.cxrHash.read();
  const asked = (hash.get('runs') || '').split(',').filter((slug) => bySlug.has(slug));
  const selected = new Set(asked.length ? asked : standard());

  // The newest two runs with different evaluations, the older one first, or else the newest two.
  function standard() {
    const byEvaluation = new Map();
    for (const run of [...runs].reverse()) if (run.evaluation) byEvaluation.set(run.evaluation, run);
    const measured = runs.filter((run) => byEvaluation.get(run.evaluation) === run);
    return (measured.length > 1 ? measured : runs).slice(0, 2).reverse().map((run) => run.slug);
  }

  const reference = () => bySlug.get(selectReference.value);

  function picker() {
    const boxes = runs.map((run) => {
      const [label, box] = [make('label'), make('input')];
      box.type = 'checkbox';
      box.value = run.slug;
      box.checked = selected.has(run.slug);
      box.addEventListener('change', () => {
        if (box.checked) selected.add(run.slug);
        else selected.delete(run.slug);
        show();
      });
      label.append(box, ` ${run.label} `, make('small', run.state));
      return label;
    });
    document.querySelector('#runs fieldset').append(...boxes);
  }

  // ---- Metrics and facts

  function figureText([value, lower, upper]) {
    if (value === null) return '–';
    const interval = lower === null || upper === null ? '' : ` (${lower.toFixed(3)} – ${upper.toFixed(3)})`;
    return value.toFixed(3) + interval;
  }

  function figureCell(figure, other, isReference) {
    if (!figure) return make('td', '–', 'n');
    const cell = make('td', figureText(figure), 'n');
    if (figure[0] === null) cell.append(make('small', `not defined: ${figure[3]}`, 'wrap'));
    if (!isReference && other && other[0] !== null && figure[0] !== null) {
      const change = figure[0] - other[0];
      cell.append(make('small', `${change > 0 ? '+' : ''}${change.toFixed(3)}`));
    }
    return cell;
  }

  function figures(chosen) {
    const table = byId('compare-table');
    if (!table) return;
    const metric = selectMetric.value;
    headings(table, 'Slice', chosen);
    const slices = new Set(chosen.flatMap((run) => Object.keys(run.slices)));
    const lines = [...slices].map((title) => {
      const line = make('tr');
      const of = (run) => (run.slices[title] || {})[metric];
      const cells = chosen.map((run) => figureCell(of(run), of(reference()), run === reference()));
      line.append(make('td', title), ...cells);
      return line;
    });
    table.tBodies[0].replaceChildren(...lines);
  }

  // A setting that one configuration lacks is not set; another fact may not have been recorded.
  function value(run, fact) {
    if (!fact.startsWith(setting)) return run.facts[fact];
    const hasSettings = Object.keys(run.facts).some((key) => key.startsWith(setting));
    return hasSettings ? (run.facts[fact] ?? 'null') : undefined;
  }

  function facts(chosen) {
    const table = byId('facts-table');
    headings(table, 'Fact', chosen);
    const names = [...new Set(chosen.flatMap((run) => Object.keys(run.facts)))].sort();
    const differing = names.filter((fact) => {
      const values = chosen.map((run) => value(run, fact)).filter((text) => text !== undefined);
      return new Set(values).size > 1;
    });
    const lines = differing.map((fact) => {
      const line = make('tr');
      line.append(make('td', fact));
      for (const run of chosen) {
        const [own, other] = [value(run, fact), value(reference(), fact)];
        const cell = line.appendChild(make('td'));
        if (own === undefined) cell.append(make('span', 'not recorded', 'soft'));
        else cell.append(make(own === other ? 'span' : 'b', own === 'null' ? 'not set' : own));
      }
      return line;
    });
    table.tBodies[0].replaceChildren(...lines);
    table.closest('.scroll').hidden = !lines.length;
    const reason = chosen.length > 1 ? 'No recorded fact differs.' : 'Select another run.';
    note('facts-note', lines.length ? [] : [reason]);
  }

  // ---- Curves

  window.cxrCurves = (slug, content) => curves.set(slug, content);

  function load(run) {
    if (!run.has_curves || curves.has(run.slug)) return null;
    return new Promise((resolve) => {
      const script = make('script');
      script.src = `runs/${run.slug}/curves.js`;
      script.onload = script.onerror = resolve;
      document.head.append(script);
    });
  }

  function legend(chosen) {
    const lines = chosen.map((run, index) => {
      const line = make('li');
      if (index < MOST_CURVES && run.has_curves) {
        line.innerHTML = `<svg aria-hidden="true" viewBox="0 0 34 10"><polyline class="line s${index}" points="0,5 34,5"/></svg>`;
      }
      line.append(make('b', run.label), ` ${run.state}`);
      if (!Object.keys(run.slices).length) line.append('; did not finish its Evaluator: no metrics');
      const twin = chosen.slice(0, index).find((other) => run.evaluation && other.evaluation === run.evaluation);
      if (twin) line.append(`; the same evaluation as ${twin.label}, from the cache`);
      if (run.note) line.append(make('small', ` ${run.note}`));
      return line;
    });
    byId('legend').replaceChildren(...lines);
  }

  function series(drawn, pointsOf) {
    return drawn
      .map((run, number) => ({number, name: run.label, points: pointsOf(curves.get(run.slug) || {}) || []}))
      .filter((part) => part.points.length);
  }

  function trainingPlots(drawn) {
    const split = selectSplit.value;
    const phases = new Set(drawn.flatMap((run) => Object.keys((curves.get(run.slug) || {}).training || {})));
    return [...phases].flatMap((phase) =>
      ['loss', 'auc'].map((figure) => {
        const parts = series(drawn, ({training}) => {
          const columns = (training || {})[phase];
          const column = columns && columns[split + figure];
          return column && columns.epoch.map((epoch, index) => [epoch, column[index]]).filter(([, y]) => y !== null);
        });
        const values = parts.flatMap((part) => part.points);
        const title = figure === 'loss' ? 'Loss' : 'AUC';
        return {
          title: `${title} on ${split ? 'val' : 'train'}, phase "${phase}"`,
          // The head has no epochs, but one regression for each penalty.
          names: [phase === 'head' ? 'penalty, strongest first' : 'epoch', title],
          series: parts,
          whole: true,
          x: [0, Math.max(2, ...values.map(([x]) => x))],
          y: values.length ? window.cxrPlotRange(values.map(([, y]) => y)) : [0, 1],
        };
      }),
    );
  }

  function plots(chosen) {
    const drawn = chosen.slice(0, MOST_CURVES);
    const known = drawn.map((run) => curves.get(run.slug)).filter(Boolean);
    const outputs = [...new Set(known.flatMap((content) => Object.keys(content.roc)))];
    options(selectOutput, outputs, outputs, selectOutput.value);
    selectOutput.closest('label').hidden = outputs.length < 2;
    const output = selectOutput.value;
    const all = [
      {
        title: `ROC of ${output}`,
        names: ['1 − specificity', 'sensitivity'],
        series: series(drawn, ({roc}) => (roc || {})[output]),
        diagonal: true,
      },
      {
        title: `Reliability of ${output}`,
        names: ['probability', 'share of positives'],
        series: series(drawn, ({reliability}) => (reliability || {})[output]),
        diagonal: true,
      },
      ...trainingPlots(drawn),
    ].filter((plot) => plot.series.length);
    const elements = all.map((plot) => {
      const figure = make('figure');
      window.cxrPlot(figure, plot);
      return figure;
    });
    byId('plots').replaceChildren(...elements);
    const lines = [];
    if (chosen.length > MOST_CURVES)
      lines.push(`The plots have the first ${MOST_CURVES} of the ${chosen.length} selected runs.`);
    for (const run of drawn)
      if (!curves.has(run.slug)) lines.push(`${run.label} has no curves: its state is "${run.state}".`);
    note('curves-note', lines);
  }

  // ---- All

  let turn = 0;

  async function show() {
    const chosen = [...selected].map((slug) => bySlug.get(slug));
    const slugs = chosen.map((run) => run.slug);
    options(selectReference, chosen.map((run) => run.label), slugs, selectReference.value);
    window.cxrHash.write({
      runs: slugs.join(','),
      reference: slugs.indexOf(selectReference.value) > 0 ? selectReference.value : '',
      metric: selectMetric && selectMetric.selectedIndex > 0 ? selectMetric.value : '',
    });
    legend(chosen);
    figures(chosen);
    facts(chosen);
    const mine = ++turn;
    await Promise.all(chosen.slice(0, MOST_CURVES).map(load));
    if (mine === turn) plots(chosen);
  }

  if (selectMetric) {
    const metrics = [
      ...new Set(runs.flatMap((run) => Object.values(run.slices).flatMap((slice) => Object.keys(slice)))),
    ];
    options(selectMetric, metrics, metrics, hash.get('metric'));
  }
  picker();
  options(selectReference, [...selected], [...selected], hash.get('reference'));
  for (const select of [selectReference, selectMetric, selectOutput, selectSplit])
    if (select) select.addEventListener('change', show);
  show();
})();
