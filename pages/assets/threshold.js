// The threshold page: figures at any threshold, computed from the counts that the page embeds.
(function () {
  'use strict';
  const content = document.getElementById('threshold-data');
  if (!content) return;
  const embedded = JSON.parse(content.textContent);
  const {thresholds, operating_point: stored, slices, positive, negative} = embedded;
  const byId = (id) => document.getElementById(id);
  const [slider, field, select] = ['slider', 'threshold', 'slice'].map(byId);
  const prevalenceField = byId('prevalence');
  const BINS = 50;

  // ---- Figures

  // Number i of the result: the images that threshold i flags.
  function flagged(counts) {
    const sums = [...counts];
    for (let i = sums.length - 2; i >= 0; i--) sums[i] += sums[i + 1];
    return sums;
  }

  function matrix({flaggedPositives, flaggedNegatives}, index) {
    const [tp, fp] = [flaggedPositives[index], flaggedNegatives[index]];
    const [positives, negatives] = [flaggedPositives[0], flaggedNegatives[0]];
    return {tp, fp, positives, negatives, fn: positives - tp, tn: negatives - fp};
  }

  // Each figure as [value, reason why there is none]. `prevalence` is that of the slice if null.
  function figures({tp, fp, fn, tn, positives, negatives}, prevalence) {
    const ratio = (part, whole, reason) => (whole > 0 ? [part / whole, ''] : [null, reason]);
    const result = {
      sensitivity: ratio(tp, positives, `no image is ${positive}`),
      specificity: ratio(tn, negatives, `no image is ${negative}`),
    };
    // The shares of all images in each cell; at the prevalence of the slice, exactly the counts.
    let cells = {tp, fp, fn, tn};
    if (prevalence !== null) {
      const share = (part, whole, weight) => (weight ? (weight * part) / whole : 0);
      cells = {
        tp: share(tp, positives, prevalence),
        fn: share(fn, positives, prevalence),
        fp: share(fp, negatives, 1 - prevalence),
        tn: share(tn, negatives, 1 - prevalence),
      };
    }
    const never = Number.isNaN(prevalence)
      ? 'the prevalence must be from 0 to 100 %'
      : !positives || !negatives
        ? `all images are ${positives ? positive : negative}`
        : '';
    const of = (part, whole, reason) => (never ? [null, never] : ratio(part, whole, reason));
    const all = cells.tp + cells.fp + cells.fn + cells.tn;
    result.ppv = of(cells.tp, cells.tp + cells.fp, 'no image is flagged');
    result.npv = of(cells.tn, cells.tn + cells.fn, 'every image is flagged');
    const known = prevalence === null ? ratio : of;
    result.flagged = known(cells.tp + cells.fp, all);
    result.missed = known(1000 * cells.fn, all);
    result.false_alarms = known(1000 * cells.fp, all);
    return result;
  }

  // As Python rounds: a tie (an odd sixteenth) to the even digit. Only there toFixed differs.
  function fixed(value) {
    const isTie = Math.abs(value * 16) % 2 === 1;
    return (isTie ? (2 * Math.round(value * 500)) / 1000 : value).toFixed(3);
  }

  const count = (number) => number.toLocaleString('en');

  const text = (name, [value]) =>
    value === null
      ? '–'
      : name === 'missed' || name === 'false_alarms'
        ? value.toFixed(1)
        : fixed(value);

  // What a row says below its title: why it has no value, or the counts behind the value.
  function note([value, reason], [, storedReason], counts) {
    const notes = [value === null ? `not defined: ${reason}` : counts];
    if (storedReason && storedReason !== reason)
      notes.push(`at the operating point not defined: ${storedReason}`);
    return notes.filter(Boolean).join('; ');
  }

  // ---- Drawing

  const draw = window.cxrDraw;

  // The emptied canvas of a plot, and the position in it of a point in 0..1 x 0..1.
  function canvas(id) {
    const group = document.querySelector(`#${id} .canvas`);
    const [left, top, width, height] = group.dataset.box.split(' ').map(Number);
    group.replaceChildren();
    return [group, (x, y) => [left + x * width, top + (1 - y) * height]];
  }

  const diamond = ([x, y]) => ({class: 'mark', d: `M${x} ${y - 8}l8 8l-8 8l-8 -8z`});

  function drawRoc(slice, here) {
    const [group, at] = canvas('roc');
    const [positives, negatives] = [slice.flaggedPositives[0], slice.flaggedNegatives[0]];
    if (!positives || !negatives) {
      const [x, y] = at(0.5, 0.5);
      const message = `no curve: no image is ${positives ? negative : positive}`;
      draw(group, 'text', {x, y, 'text-anchor': 'middle'}, message);
      return;
    }
    const point = (index) =>
      at(slice.flaggedNegatives[index] / negatives, slice.flaggedPositives[index] / positives);
    const points = [...thresholds.keys()].map(point);
    draw(group, 'polyline', {class: 'line s0', points: [...points, at(0, 0)].join(' ')});
    draw(group, 'path', diamond(point(stored)));
    const [cx, cy] = point(here);
    draw(group, 'circle', {class: 'here', cx, cy, r: 10});
  }

  function bins(counts) {
    const sums = new Array(BINS).fill(0);
    // The ends of the bins are among the thresholds, so no count belongs to two bins.
    counts.forEach((number, i) => {
      sums[Math.min(BINS - 1, Math.floor(thresholds[i] * BINS + 1e-6))] += number;
    });
    const total = sums.reduce((sum, number) => sum + number, 0);
    return sums.map((number) => (total ? number / total : 0));
  }

  function drawHistogram(slice, here, {tp, fp, fn, tn}) {
    const [group, at] = canvas('histogram');
    const [up, down] = [bins(slice.positives), bins(slice.negatives)];
    // Bars end below the counts, which are at the upper and lower edge.
    const highest = Math.max(...up, ...down);
    const scale = 0.4 / highest;
    const [x] = at(thresholds[here], 0);
    const [[left, bottom], [right, top]] = [at(0, 0), at(1, 1)];
    draw(group, 'rect', {class: 'flagged', x, y: top, width: right - x, height: bottom - top});
    const middle = at(0, 0.5)[1];
    [up, down].forEach((shares, isDown) => {
      shares.forEach((share, bin) => {
        const [from, to] = [at(bin / BINS, 0)[0], at((bin + 1) / BINS, 0)[0]];
        const height = share * scale * (bottom - top);
        const y = isDown ? middle : middle - height;
        const place = {x: from + 0.5, y, width: to - from - 1, height};
        if (share) draw(group, 'rect', {class: isDown ? 'down' : 'up', ...place});
      });
    });
    draw(group, 'line', {class: 'base', x1: left, x2: right, y1: middle, y2: middle});
    draw(group, 'line', {class: 'here', x1: x, x2: x, y1: bottom, y2: top});
    draw(group, 'path', diamond(at(thresholds[stored], 0.5)));
    const labels = [
      [0.01, 0.95, 'start', `${positive}: ${count(fn)} missed`],
      [0.99, 0.95, 'end', `${count(tp)} flagged`],
      [0.01, 0.02, 'start', `${negative}: ${count(tn)} not flagged`],
      [0.99, 0.02, 'end', `${count(fp)} false alarms`],
      [-0.02, 0.88, 'end', `${(100 * highest).toFixed(0)} %`],
      [-0.02, 0.48, 'end', '0'],
      [-0.02, 0.08, 'end', `${(100 * highest).toFixed(0)} %`],
    ];
    for (const [shareX, shareY, anchor, message] of labels) {
      const [textX, y] = at(shareX, shareY);
      draw(group, 'text', {x: textX, y, 'text-anchor': anchor}, message);
    }
  }

  // ---- The page

  function details({tp, fp, fn, tn, positives, negatives}) {
    const of = (part, whole, words) => `${count(part)} of ${count(whole)} ${words}`;
    return {
      sensitivity: of(tp, positives, `${positive} flagged`),
      specificity: of(tn, negatives, `${negative} not flagged`),
      ppv: of(tp, tp + fp, `flagged are ${positive}`),
      npv: of(tn, tn + fn, `not flagged are ${negative}`),
      flagged: of(tp + fp, positives + negatives, 'images'),
      missed: of(fn, positives + negatives, 'images'),
      false_alarms: of(fp, positives + negatives, 'images'),
    };
  }

  // A share 0..1 that the reader set; null for that of the slice; NaN for one that is impossible.
  let prevalence = null;

  function show() {
    const slice = slices[select.value];
    const here = Number(slider.value);
    const counts = matrix(slice, here);
    const own = counts.positives / (counts.positives + counts.negatives);
    if (prevalence === null) prevalenceField.value = (100 * own).toFixed(1);
    if (document.activeElement !== field) field.value = thresholds[here].toFixed(4);
    const values = [counts, matrix(slice, stored)].map((cells) => figures(cells, prevalence));
    const behind = details(counts);
    for (const row of document.querySelectorAll('#figures tbody tr')) {
      const {name} = row.dataset;
      const isCounted =
        prevalence === null || name === 'sensitivity' || name === 'specificity';
      row.cells[0].querySelector('small').textContent = note(
        ...values.map((column) => column[name]),
        isCounted ? behind[name] : '',
      );
      values.forEach((column, index) => {
        row.cells[index + 1].textContent = text(name, column[name]);
      });
    }
    const [{sensitivity, specificity}] = values;
    slider.setAttribute(
      'aria-valuetext',
      `${field.value}, sensitivity ${text('', sensitivity)}, specificity ${text('', specificity)}`,
    );
    byId('of').textContent = slice.title;
    byId('here').textContent = `at ${thresholds[here].toFixed(4)}`;
    byId('at-prevalence').textContent = Number.isNaN(prevalence)
      ? ''
      : `At a prevalence of ${(100 * (prevalence ?? own)).toFixed(1)} %.`;
    byId('not-assessed').textContent = slice.not_assessed
      ? ` The model could not assess ${count(slice.not_assessed)} of these images, and flags ` +
        'them at every threshold.'
      : '';
    drawRoc(slice, here);
    drawHistogram(slice, here, counts);
  }

  const isInRange = ({value, min, max}) =>
    value !== '' && Number(value) >= Number(min) && Number(value) <= Number(max);

  function move(index) {
    slider.value = index;
    show();
  }

  function nearest(value) {
    let best = 0;
    thresholds.forEach((threshold, index) => {
      if (Math.abs(threshold - value) < Math.abs(thresholds[best] - value)) best = index;
    });
    return best;
  }

  for (const slice of slices) {
    slice.flaggedPositives = flagged(slice.positives);
    slice.flaggedNegatives = flagged(slice.negatives);
  }
  select.replaceChildren(...slices.map((slice, index) => new Option(slice.title, index)));
  slider.max = thresholds.length - 1;
  byId('marks').append(new Option('operating point', stored));
  slider.addEventListener('input', show);
  select.addEventListener('change', show);
  field.addEventListener('input', () => {
    if (isInRange(field)) move(nearest(Number(field.value)));
  });
  field.addEventListener('blur', show);
  prevalenceField.addEventListener('input', () => {
    prevalence = isInRange(prevalenceField) ? Number(prevalenceField.value) / 100 : NaN;
    show();
  });
  byId('to-operating-point').addEventListener('click', () => move(stored));
  byId('to-prevalence').addEventListener('click', () => {
    prevalence = null;
    show();
  });
  byId('explorer').addEventListener('submit', (event) => event.preventDefault());
  move(stored);
})();
