// Adds TFMA's own elements to a page, with the data that the page embeds.
(function () {
  'use strict';
  const content = document.getElementById('tfma-data');
  if (!content) return;
  const embedded = JSON.parse(content.textContent);
  const PLOT_KEYS = {
    calibrationPlot: {metricName: 'calibrationHistogramBuckets', dataSeries: 'buckets'},
    confusionMatrixPlot: {metricName: 'confusionMatrixAtThresholds', dataSeries: 'matrices'},
  };

  function put(id, name, data, config) {
    const element = document.createElement(name);
    element.config = config;
    element.data = data;
    document.getElementById(id).replaceChildren(element);
    return element;
  }

  // TFMA's table has margins of 120 pixels; without them the last columns fit.
  function widen(slicing) {
    const browser = slicing.shadowRoot?.querySelector('tfma-slicing-metrics-browser');
    const style = document.createElement('style');
    style.textContent = '#table { width: auto; margin-left: 0; margin-right: 0; }';
    browser?.shadowRoot?.append(style);
  }

  function choices(select, titles) {
    select.replaceChildren(...titles.map((title, index) => new Option(title, index)));
  }

  // Converts rows of numbers to the named form of TFMA's plots.
  function matrix([threshold, truePositives, falsePositives, trueNegatives, falseNegatives]) {
    const flagged = truePositives + falsePositives;
    const positives = truePositives + falseNegatives;
    return {
      threshold,
      truePositives,
      falsePositives,
      trueNegatives,
      falseNegatives,
      precision: flagged ? truePositives / flagged : null,
      recall: positives ? truePositives / positives : null,
    };
  }

  function buckets(rows) {
    const inner = rows.map(([low, high, images, labels, predictions]) => ({
      lowerThresholdInclusive: low,
      upperThresholdExclusive: high,
      numWeightedExamples: images,
      totalWeightedLabel: labels,
      totalWeightedRefinedPrediction: predictions,
    }));
    const empty = {
      numWeightedExamples: 0,
      totalWeightedLabel: 0,
      totalWeightedRefinedPrediction: 0,
    };
    // TFMA's histogram also has a bucket below 0 and one above 1.
    return [
      {lowerThresholdInclusive: '-Infinity', upperThresholdExclusive: 0, ...empty},
      ...inner,
      {lowerThresholdInclusive: 1, upperThresholdExclusive: 'Infinity', ...empty},
    ];
  }

  function showPlots(curves, title) {
    const data = {};
    if (curves && curves.matrices.length)
      data.confusionMatrixAtThresholds = {matrices: curves.matrices.map(matrix)};
    if (curves && curves.buckets.length)
      data.calibrationHistogramBuckets = {buckets: buckets(curves.buckets)};
    if (Object.keys(data).length) {
      put('tfma-plot', 'tfma-nb-plot', data, {sliceName: title, metricKeys: PLOT_KEYS});
    } else {
      const note = document.createElement('p');
      note.textContent = `${title}: there are no plots for this selection.`;
      document.getElementById('tfma-plot').replaceChildren(note);
    }
  }

  function plots() {
    const [sliceSelect, plotSelect] = [
      document.getElementById('plot-slice'),
      document.getElementById('plot-output'),
    ];
    const loaded = new Map();
    const show = () => {
      const {title, number} = embedded.slices[sliceSelect.value];
      const {key, title: of} = embedded.plots[plotSelect.value];
      if (loaded.has(number)) {
        showPlots(loaded.get(number)[key], `${title} (${of})`);
        return;
      }
      // A script, because requests do not work for pages on disk.
      const script = document.createElement('script');
      script.src = `plots/${number}.js`;
      document.head.append(script);
    };
    window.cxrPlots = (number, curves) => {
      loaded.set(number, curves);
      show();
    };
    choices(
      sliceSelect,
      embedded.slices.map((slice) => slice.title),
    );
    choices(
      plotSelect,
      embedded.plots.map((plot) => plot.title),
    );
    sliceSelect.addEventListener('change', show);
    plotSelect.addEventListener('change', show);
    show();
  }

  function timeSeries() {
    const select = document.getElementById('series-slice');
    const titles = Object.keys(embedded.series);
    const show = () =>
      put('tfma-series', 'tfma-nb-time-series', embedded.series[titles[select.value]], {
        isModelCentric: true,
      });
    choices(select, titles);
    select.addEventListener('change', show);
    show();
  }

  if (embedded.data && embedded.data.length)
    widen(put('tfma-slicing', 'tfma-nb-slicing-metrics', embedded.data, embedded.config));
  if (embedded.slices && embedded.slices.length) plots();
  if (embedded.series && Object.keys(embedded.series).length) timeSeries();
})();
