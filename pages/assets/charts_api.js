// Replaces the part of the Google Charts API that TFMA's elements use and would load from a network.
// It has to come before vulcanized_tfma.js, which uses an existing google.charts.
(function () {
  'use strict';
  const SVG = 'http://www.w3.org/2000/svg';
  // Okabe and Ito's colours, on white.
  const COLORS = ['#0072b2', '#d55e00', '#009e73', '#a8568a', '#7a6a00', '#56b4e9', '#3a3f47', '#e69f00'];
  const DASHES = ['', '7 4', '2 3', '10 3 2 3', '4 2', '1 2', '12 4', '5 5'];
  const listeners = new WeakMap();

  const events = {
    addListener(source, name, handler) {
      const own = listeners.get(source) || new Map();
      listeners.set(source, own);
      own.set(name, [...(own.get(name) || []), handler]);
      return {source, name, handler};
    },
    addOneTimeListener(source, name, handler) {
      const added = events.addListener(source, name, (event) => {
        events.removeListener(added);
        handler(event);
      });
      return added;
    },
    removeListener(added) {
      const own = listeners.get(added.source);
      if (own) own.set(added.name, (own.get(added.name) || []).filter((handler) => handler !== added.handler));
    },
    trigger(source, name, event) {
      const own = listeners.get(source);
      ((own && own.get(name)) || []).forEach((handler) => handler(event));
    },
  };

  const isCell = (value) => value !== null && typeof value === 'object' && !(value instanceof Date) && ('v' in value || 'f' in value);
  const asCell = (value) => (isCell(value) ? value : {v: value});
  const asColumn = (column) =>
    typeof column === 'object' && column !== null
      ? {label: column.label || '', type: column.type || '', role: column.role || (column.p && column.p.role) || '', id: column.id || ''}
      : {label: String(column), type: '', role: '', id: ''};

  class DataTable {
    constructor(content) {
      this.columns = ((content && content.cols) || []).map(asColumn);
      this.rows = ((content && content.rows) || []).map((row) => (row.c || row).map(asCell));
    }
    addColumn(type, label) {
      this.columns.push(asColumn(typeof type === 'object' ? type : {type, label}));
    }
    addRow(row) {
      this.rows.push(row.map(asCell));
    }
    addRows(rows) {
      rows.forEach((row) => this.addRow(row));
    }
    getNumberOfRows() {
      return this.rows.length;
    }
    getNumberOfColumns() {
      return this.columns.length;
    }
    getColumnLabel(column) {
      return this.columns[column].label;
    }
    getColumnRole(column) {
      return this.columns[column].role;
    }
    getColumnType(column) {
      return this.columns[column].type || typeof this.getValue(0, column);
    }
    getValue(row, column) {
      const cell = this.rows[row] && this.rows[row][column];
      return cell && cell.v !== undefined ? cell.v : null;
    }
    getFormattedValue(row, column) {
      const cell = this.rows[row] && this.rows[row][column];
      if (!cell) return '';
      return String(cell.f !== undefined && cell.f !== null ? cell.f : cell.v ?? '');
    }
    sort(by) {
      const keys = (Array.isArray(by) ? by : [by]).map((key) => (typeof key === 'number' ? {column: key} : key));
      this.rows.sort((one, other) => {
        for (const {column, desc} of keys) {
          const [a, b] = [one[column].v, other[column].v];
          if (a !== b) return (a < b ? -1 : 1) * (desc ? -1 : 1);
        }
        return 0;
      });
    }
    setProperty() {}
    setColumnProperty() {}
  }

  class DataView {
    constructor(table) {
      this.table = table;
      this.chosen = table.columns.map((_, place) => place);
    }
    setColumns(columns) {
      this.chosen = columns;
    }
    getNumberOfRows() {
      return this.table.getNumberOfRows();
    }
    getNumberOfColumns() {
      return this.chosen.length;
    }
    getValue(row, column) {
      return this.toDataTable().getValue(row, column);
    }
    // Calculated columns only repeat a number as an annotation, so they stay empty.
    toDataTable() {
      const copy = new DataTable();
      copy.columns = this.chosen.map((one) => (typeof one === 'number' ? this.table.columns[one] : asColumn({role: one.role || 'annotation'})));
      copy.rows = this.table.rows.map((row) => this.chosen.map((one) => (typeof one === 'number' ? row[one] : {v: null})));
      return copy;
    }
  }

  function arrayToDataTable(rows, withoutHeader) {
    const table = new DataTable();
    const header = withoutHeader ? (rows[0] || []).map(() => '') : rows[0] || [];
    table.columns = header.map(asColumn);
    table.addRows(rows.slice(withoutHeader ? 0 : 1));
    return table;
  }

  const plain = (data) => (data instanceof DataView ? data.toDataTable() : data);

  class Chart {
    constructor(container) {
      this.container = container;
      this.selection = [];
    }
    getSelection() {
      return this.selection;
    }
    setSelection(selection) {
      this.selection = selection || [];
    }
    clearChart() {
      this.container.textContent = '';
    }
    select(row, column) {
      this.selection = [{row, column}];
      events.trigger(this, 'select', {});
    }
  }

  // A cell can contain one of TFMA's own elements. Other HTML comes from data and is shown as text.
  function fill(target, content) {
    const match = /^<(tfma-[a-z-]+)[ >]/.exec(content);
    if (!match) {
      target.textContent = content;
      return;
    }
    const parsed = new DOMParser().parseFromString(content, 'text/html').body.firstElementChild;
    const element = document.createElement(match[1]);
    for (const name of ['data', 'value', 'lower-bound', 'upper-bound']) {
      if (parsed && parsed.hasAttribute(name)) element.setAttribute(name, parsed.getAttribute(name));
    }
    target.append(element);
  }

  class Table extends Chart {
    draw(data) {
      this.data = plain(data);
      this.order = this.data.rows.map((_, row) => row);
      this.sorted = null;
      this.render();
      events.trigger(this, 'ready', {});
    }
    setSelection(selection) {
      super.setSelection(selection);
      this.shade();
    }
    render() {
      const table = document.createElement('table');
      table.style.cssText = 'border-collapse:collapse;font:13px sans-serif;width:100%';
      const head = table.createTHead().insertRow();
      const shown = this.data.columns.map((_, column) => column).filter((column) => !this.data.getColumnRole(column));
      for (const column of shown) {
        const cell = document.createElement('th');
        const up = this.sorted && this.sorted.column === column ? (this.sorted.ascending ? ' ▲' : ' ▼') : '';
        cell.textContent = this.data.getColumnLabel(column) + up;
        cell.tabIndex = 0;
        cell.style.cssText = 'border:1px solid #d8dde4;padding:5px 8px;background:#eff2f5;cursor:pointer;text-align:left;vertical-align:bottom';
        cell.onclick = () => this.sortBy(column);
        cell.onkeydown = (event) => event.key === 'Enter' && this.sortBy(column);
        head.append(cell);
      }
      const body = table.createTBody();
      this.lines = new Map();
      for (const row of this.order) {
        const line = body.insertRow();
        this.lines.set(row, line);
        for (const column of shown) {
          const cell = line.insertCell();
          const number = typeof this.data.getValue(row, column) === 'number';
          cell.style.cssText = `border:1px solid #d8dde4;padding:4px 8px;text-align:${number ? 'right' : 'left;white-space:nowrap'}`;
          fill(cell, this.data.getFormattedValue(row, column));
        }
        line.onclick = () => {
          this.select(row, null);
          this.shade();
        };
      }
      this.container.replaceChildren(table);
      this.shade();
    }
    shade() {
      const chosen = new Set(this.selection.map((one) => one.row));
      for (const [row, line] of this.lines || []) line.style.background = chosen.has(row) ? '#e4f1f9' : '';
    }
    sortBy(column) {
      const ascending = !(this.sorted && this.sorted.column === column && this.sorted.ascending);
      this.sorted = {column, ascending};
      const value = (row) => this.data.getValue(row, column);
      this.order.sort((one, other) => (value(one) < value(other) ? -1 : value(one) > value(other) ? 1 : 0) * (ascending ? 1 : -1));
      this.render();
      events.trigger(this, 'sort', {column, ascending, sortedIndexes: this.order.slice()});
    }
  }

  function add(parent, name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  const finite = (value) => typeof value === 'number' && Number.isFinite(value);
  const short = (value) => (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3) ? value.toExponential(1) : String(+value.toPrecision(3)));

  // The ends of an axis: from the options, or else from the values.
  function ends(axis, values, withZero) {
    const window_ = axis.viewWindow || {};
    const numbers = values.filter(finite);
    let low = window_.min ?? Math.min(...numbers, ...(finite(axis.minValue) ? [axis.minValue] : []), ...(withZero ? [0] : []));
    let high = window_.max ?? Math.max(...numbers, ...(finite(axis.maxValue) ? [axis.maxValue] : []), ...(withZero ? [0] : []));
    if (!finite(low) || !finite(high)) [low, high] = [0, 1];
    if (low === high) [low, high] = [low - (Math.abs(low) * 0.1 || 0.5), high + (Math.abs(high) * 0.1 || 0.5)];
    return [low, high];
  }

  function scale(range, from, to, logarithmic) {
    const log = logarithmic && range[0] > 0;
    const of = (value) => (log ? Math.log(value) : value);
    const place = (value) => from + ((of(value) - of(range[0])) / (of(range[1]) - of(range[0]))) * (to - from);
    place.ticks = [0, 1, 2, 3, 4, 5].map((step) => {
      const value = of(range[0]) + ((of(range[1]) - of(range[0])) * step) / 5;
      return log ? Math.exp(value) : value;
    });
    return place;
  }

  // Lines, dots and columns over one x axis, with a second y axis for the series that need it.
  class Plot extends Chart {
    constructor(container, kind) {
      super(container);
      this.kind = kind;
    }
    draw(source, options) {
      const data = plain(source);
      this.options = options || {};
      const host = this.container.getRootNode().host;
      this.width = this.options.width || this.container.clientWidth || (host && host.clientWidth) || 420;
      this.height = this.options.height || (host && host.clientHeight > 60 ? host.clientHeight : 300);
      this.svg = document.createElementNS(SVG, 'svg');
      this.svg.setAttribute('width', this.width);
      this.svg.setAttribute('height', this.height);
      this.svg.style.cssText = 'font:11px sans-serif;display:block';
      this.series(data);
      this.axes(data);
      // TFMA marks columns by their position in the original API: the second child of the first clipped
      // group, with the labels three groups behind.
      const clipped = add(this.svg, 'g', {'clip-path': 'none'});
      add(clipped, 'g', {});
      this.columns = add(clipped, 'g', {});
      const [, , notes] = [0, 1, 2].map(() => add(this.svg, 'g', {}));
      this.notes = notes;
      this.series_.forEach((series) => this.drawSeries(series));
      this.legend();
      this.container.replaceChildren(this.svg);
      events.trigger(this, 'ready', {});
    }
    series(data) {
      this.named = data.rows.length > 0 && !finite(data.getValue(0, 0));
      this.series_ = [];
      // If the options give any line a dash, the other lines have none.
      const dashed = Object.values(this.options.series || {}).some((one) => one.lineDashStyle);
      data.columns.forEach((column, place) => {
        if (!place || column.role) return;
        const number = this.series_.length;
        const own = (this.options.series && this.options.series[number]) || {};
        const tooltip = data.columns.findIndex((other, at) => at > place && other.role === 'tooltip');
        const hint = tooltip > 0 && data.columns.slice(place + 1, tooltip).every((other) => other.role) ? tooltip : -1;
        const points = data.rows
          .map((_, row) => ({
            x: this.named ? row : data.getValue(row, 0),
            y: data.getValue(row, place),
            row,
            tooltip: hint > 0 ? data.getFormattedValue(row, hint) : `${column.label} ${data.getFormattedValue(row, 0)}: ${data.getFormattedValue(row, place)}`,
          }))
          .filter((point) => finite(point.x) && finite(point.y));
        const colors = this.options.colors || COLORS;
        this.series_.push({
          number, points, label: column.label, column: place, axis: own.targetAxisIndex ? 1 : 0,
          kind: (own.type || this.options.seriesType || this.kind).replace('columns', 'bars'),
          color: own.color || colors[number % colors.length],
          dash: own.lineDashStyle ? own.lineDashStyle.join(' ') : dashed ? '' : DASHES[number % DASHES.length],
          inLegend: own.visibleInLegend !== false, lineWidth: own.lineWidth ?? this.options.lineWidth ?? 2, pointSize: own.pointSize ?? this.options.pointSize ?? 0,
        });
      });
    }
    axes(data) {
      const {hAxis = {}, vAxis = {}, vAxes = {}} = this.options;
      const second = this.series_.some((series) => series.axis);
      const bars = this.series_.some((series) => series.kind === 'bars');
      // The number above the highest bar needs space below the legend.
      const legend = this.options.title ? 34 : 20;
      const [left, right, top, bottom] = [58, this.width - (second ? 58 : 14), legend + (bars ? 24 : 10), this.height - 44];
      const xs = ends(hAxis, this.series_.flatMap((series) => series.points.map((point) => point.x)), false);
      this.step = (right - left) / Math.max(data.rows.length, 1);
      if (bars && !hAxis.viewWindow) {
        const half = (xs[1] - xs[0]) / Math.max(data.rows.length - 1, 1) / 2;
        [xs[0], xs[1]] = [xs[0] - half, xs[1] + half];
      }
      this.x = scale(xs, left, right, hAxis.logScale);
      this.y = [0, 1].map((axis) => {
        const own = this.series_.filter((series) => series.axis === axis);
        const values = own.flatMap((series) => series.points.map((point) => point.y));
        const settings = {...vAxis, ...(vAxes[axis] || {})};
        return scale(ends(settings, values, own.some((series) => series.kind === 'bars')), bottom, top, settings.logScale || /log/i.test(settings.scaleType || ''));
      });
      this.frame = {left, right, top, bottom, legend};
      for (const value of this.y[0].ticks) {
        add(this.svg, 'line', {x1: left, x2: right, y1: this.y[0](value), y2: this.y[0](value), stroke: '#e1e5ea'});
        add(this.svg, 'text', {x: left - 5, y: this.y[0](value) + 4, 'text-anchor': 'end'}, short(value));
      }
      if (second) for (const value of this.y[1].ticks) add(this.svg, 'text', {x: right + 5, y: this.y[1](value) + 4}, short(value));
      this.xLabels(data, bottom);
      add(this.svg, 'rect', {x: left, y: top, width: right - left, height: bottom - top, fill: 'none', stroke: '#9aa5b1'});
      const middle = (top + bottom) / 2;
      if (this.options.title) add(this.svg, 'text', {x: left, y: 14, 'font-weight': 'bold'}, this.options.title);
      add(this.svg, 'text', {x: (left + right) / 2, y: this.height - 8, 'text-anchor': 'middle', 'font-style': 'italic'}, hAxis.title || '');
      const title = vAxis.title || (vAxes[0] && vAxes[0].title) || '';
      add(this.svg, 'text', {x: -middle, y: 13, transform: 'rotate(-90)', 'text-anchor': 'middle', 'font-style': 'italic'}, title);
    }
    xLabels(data, bottom) {
      if (!this.named) {
        for (const value of this.x.ticks) add(this.svg, 'text', {x: this.x(value), y: bottom + 15, 'text-anchor': 'middle'}, short(value));
        return;
      }
      const every = Math.ceil(data.rows.length / Math.max(1, Math.floor(this.width / 130)));
      data.rows.forEach((_, row) => {
        if (row % every) return;
        const text = add(this.svg, 'text', {x: this.x(row), y: bottom + 15, 'text-anchor': 'middle'}, data.getFormattedValue(row, 0).slice(0, 24));
        add(text, 'title', {}, data.getFormattedValue(row, 0));
      });
    }
    drawSeries(series) {
      const y = this.y[series.axis];
      const {left, right, top, bottom} = this.frame;
      const at = (point) => [Math.min(Math.max(this.x(point.x), left), right), Math.min(Math.max(y(point.y), top), bottom)];
      if (series.kind === 'bars') {
        const count = this.series_.filter((other) => other.kind === 'bars').length;
        const width = Math.max(1, (this.step * 0.85) / count);
        for (const point of series.points) {
          const [x, end] = at(point);
          const start = at({x: point.x, y: 0})[1];
          const place = {x: x - (width * count) / 2 + width * series.number, y: Math.min(end, start), width, height: Math.abs(end - start)};
          this.hint(add(this.columns, 'rect', {...place, fill: series.color}), series, point);
          add(this.notes, 'text', {x: place.x + width / 2, y: place.y - 3, 'text-anchor': 'middle'}, point.y && width > 12 ? short(point.y) : '');
        }
        return;
      }
      if (series.kind !== 'scatter' && series.lineWidth) {
        const path = series.points.map((point, place) => (place ? 'L' : 'M') + at(point).map((value) => value.toFixed(1)).join(' ')).join('');
        add(this.svg, 'path', {d: path, fill: 'none', stroke: series.color, 'stroke-width': series.lineWidth, 'stroke-dasharray': series.dash});
      }
      // Short lines have visible dots; long ones have invisible dots that show tooltips.
      const shown = series.kind === 'scatter' || series.pointSize || series.points.length <= 30;
      for (const point of series.points) {
        const [cx, cy] = at(point);
        const look = {r: shown ? (series.pointSize || 6) / 2 : 4, fill: series.color, 'fill-opacity': shown ? 1 : 0};
        this.hint(add(this.svg, 'circle', {cx, cy, ...look}), series, point);
      }
    }
    hint(element, series, point) {
      add(element, 'title', {}, point.tooltip);
      element.addEventListener('click', () => this.select(point.row, series.column));
      element.addEventListener('mouseover', () => events.trigger(this, 'onmouseover', {row: point.row, column: series.column}));
      element.addEventListener('mouseout', () => events.trigger(this, 'onmouseout', {row: point.row, column: series.column}));
    }
    legend() {
      if (this.options.legend === 'none' || (this.options.legend || {}).position === 'none') return;
      let x = this.frame.left;
      for (const series of this.series_.filter((one) => one.inLegend && one.label)) {
        add(this.svg, 'line', {x1: x, x2: x + 18, y1: this.frame.legend, y2: this.frame.legend, stroke: series.color, 'stroke-width': 3, 'stroke-dasharray': series.dash});
        add(this.svg, 'text', {x: x + 23, y: this.frame.legend + 4}, series.label);
        x += 34 + 6.2 * series.label.length;
      }
    }
  }

  // A bubble is (id, x, y, colour, size).
  class BubbleChart extends Plot {
    constructor(container) {
      super(container, 'scatter');
    }
    draw(source, options) {
      const data = plain(source);
      const dots = new DataTable();
      dots.columns = [asColumn('x'), asColumn('')];
      dots.rows = data.rows.map((row) => [row[1], {v: row[2] && row[2].v}]);
      const sizes = data.rows.map((_, row) => Number(data.getValue(row, 4)) || 0);
      const largest = Math.max(...sizes, 1e-9);
      super.draw(dots, {...options, series: null, colors: null});
      const tooltip = (row) => data.columns.map((column, place) => `${column.label}: ${data.getFormattedValue(row, place)}`).join('\n');
      [...this.svg.querySelectorAll('circle')].forEach((circle, place) => {
        const {row} = this.series_[0].points[place];
        circle.setAttribute('r', 2 + 7 * (sizes[row] / largest));
        circle.setAttribute('fill-opacity', 0.7);
        circle.querySelector('title').textContent = tooltip(row);
      });
    }
  }

  const kind = (name) => class extends Plot {
    constructor(container) {
      super(container, name);
    }
  };
  const types = {
    Table, BubbleChart, LineChart: kind('line'), ComboChart: kind('line'), AreaChart: kind('line'), SteppedAreaChart: kind('line'),
    ScatterChart: kind('scatter'), ColumnChart: kind('bars'), BarChart: kind('bars'), Histogram: kind('bars'),
  };

  class ChartWrapper {
    constructor(settings) {
      this.container = settings.container;
      this.options = settings.options || {};
      this.type = settings.chartType || 'LineChart';
      this.chart = null;
    }
    setChartType(type) {
      if (type !== this.type) this.chart = null;
      this.type = type;
    }
    getChartType() {
      return this.type;
    }
    getChart() {
      return this.chart;
    }
    setDataTable(data) {
      this.data = data;
    }
    getDataTable() {
      return this.data;
    }
    setOptions(options) {
      this.options = options || {};
    }
    getOptions() {
      return this.options;
    }
    draw() {
      if (!this.data) return;
      if (!this.chart) {
        this.chart = new (types[this.type] || types.LineChart)(this.container);
        events.addListener(this.chart, 'select', () => events.trigger(this, 'select', {}));
      }
      this.chart.draw(this.data, this.options);
      events.trigger(this, 'ready', {});
    }
  }

  // TFMA's elements would also load the font Roboto from a network.
  window.polymerSkipLoadingFontRoboto = true;
  window.google = window.google || {};
  window.google.charts = {load: () => Promise.resolve(), setOnLoadCallback: (call) => call(), Line: types.LineChart, Bar: types.ColumnChart, Scatter: types.ScatterChart};
  window.google.visualization = {...types, ChartWrapper, DataTable, DataView, arrayToDataTable, events};
})();
