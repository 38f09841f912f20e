// Draws curves of several runs into one SVG; colours and dashes are those of the style sheet.
(function () {
  'use strict';
  const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [400, 330, 52, 12, 14, 44];

  const draw = window.cxrDraw;

  // At most six steps of 1, 2 or 5 times a power of ten; `whole` leaves out fractions.
  function ticks([low, high], whole) {
    const power = 10 ** Math.floor(Math.log10(high - low));
    const step = [0.1, 0.2, 0.5, 1, 2].map((factor) => factor * power).find((size) => (high - low) / size <= 6);
    const first = Math.ceil(low / step - 1e-9);
    const count = Math.floor(high / step + 1e-9) - first + 1;
    return Array.from({length: count}, (_, index) => Number(((first + index) * step).toPrecision(10))).filter(
      (value) => !whole || Number.isInteger(value),
    );
  }

  // A range with a margin that has all values.
  function range(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.05 * (high - low) || 0.1 * Math.abs(high) || 1;
    return [low - margin, high + margin];
  }

  function axes(svg, at, {x, y, names, whole}) {
    for (const value of ticks(x, whole)) {
      const [[across, bottom], [, top]] = [at(value, y[0]), at(value, y[1])];
      draw(svg, 'line', {class: 'grid', x1: across, x2: across, y1: bottom, y2: top});
      draw(svg, 'text', {x: across, y: bottom + 15, 'text-anchor': 'middle'}, String(value));
    }
    for (const value of ticks(y, false)) {
      const [[left, up], [right]] = [at(x[0], value), at(x[1], value)];
      draw(svg, 'line', {class: 'grid', x1: left, x2: right, y1: up, y2: up});
      draw(svg, 'text', {x: left - 6, y: up + 4, 'text-anchor': 'end'}, String(value));
    }
    const middle = {x: (LEFT + WIDTH - RIGHT) / 2, y: (TOP + HEIGHT - BOTTOM) / 2};
    draw(svg, 'text', {class: 'axis', x: middle.x, y: HEIGHT - 10, 'text-anchor': 'middle'}, names[0]);
    const turned = {transform: 'rotate(-90)', 'text-anchor': 'middle'};
    draw(svg, 'text', {class: 'axis', x: -middle.y, y: 13, ...turned}, names[1]);
  }

  function line(svg, at, {number, name, points}) {
    const places = points.map(([x, y]) => at(x, y));
    if (places.length > 1) {
      const curve = draw(svg, 'polyline', {class: `line s${number}`, points: places.join(' ')});
      draw(curve, 'title', {}, name);
    }
    // Bins have an interval; one point alone would be no line.
    points.forEach(([x, y, lower, upper, images], index) => {
      if (lower === undefined && places.length > 1) return;
      const group = draw(svg, 'g', {class: `dot s${number}`});
      const [cx, cy] = places[index];
      if (lower !== undefined) draw(group, 'line', {x1: cx, x2: cx, y1: at(x, lower)[1], y2: at(x, upper)[1]});
      draw(group, 'circle', {cx, cy, r: 3.5});
      const size = images === undefined ? '' : ` (${images} images)`;
      draw(group, 'title', {}, `${name}: ${y.toFixed(3)}${size}`);
    });
  }

  // Replaces the content of a figure: `title`, `names` of the axes, `series` of {number, name,
  // points}, ranges `x` and `y` (default: 0..1), `diagonal`, and `whole` for an axis of epochs.
  window.cxrPlot = function (figure, options) {
    const plot = {x: [0, 1], y: [0, 1], ...options};
    const at = (x, y) => {
      const [across, up] = [
        [x, plot.x],
        [y, plot.y],
      ].map(([value, [low, high]]) => Math.min(Math.max((value - low) / (high - low), 0), 1));
      return [LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)];
    };
    const caption = document.createElement('figcaption');
    caption.textContent = plot.title;
    figure.replaceChildren(caption);
    const label = `${plot.title}: ${plot.series.map((part) => part.name).join(', ')}`;
    const svg = draw(figure, 'svg', {
      class: 'plot',
      role: 'img',
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      'aria-label': label,
    });
    axes(svg, at, plot);
    if (plot.diagonal) {
      const [[x1, y1], [x2, y2]] = [at(0, 0), at(1, 1)];
      draw(svg, 'line', {class: 'diagonal', x1, y1, x2, y2});
    }
    for (const part of plot.series) line(svg, at, part);
  };
  window.cxrPlotRange = range;
})();
