// Puts TFMA's own elements into a page and hands them the data that stands in it.
(function () {
  'use strict';
  const content = document.getElementById('tfma-data');
  if (!content) return;
  const given = JSON.parse(content.textContent);
  const PLOT_KEYS = {
    calibrationPlot: {metricName: 'calibrationHistogramBuckets', dataSeries: 'buckets'},
    confusionMatrixPlot: {metricName: 'confusionMatrixAtThresholds', dataSeries: 'matrices'},
  };

  function put(place, name, data, config) {
    const element = document.createElement(name);
    element.config = config;
    element.data = data;
    document.getElementById(place).replaceChildren(element);
    return element;
  }

  // TFMA keeps 120 pixels free on either side of its table, for want of which the last columns do not fit.
  function widen(slicing) {
    const browser = slicing.shadowRoot?.querySelector('tfma-slicing-metrics-browser');
    const style = document.createElement('style');
    style.textContent = '#table { width: auto; margin-left: 0; margin-right: 0; }';
    browser?.shadowRoot?.append(style);
  }

  function choices(select, titles) {
    select.replaceChildren(...titles.map((title, place) => new Option(title, place)));
  }

  // From rows of numbers to the named form in which TFMA writes plots.
  function matrix([threshold, truePositives, falsePositives, trueNegatives, falseNegatives]) {
    const flagged = truePositives + falsePositives;
    const positives = truePositives + falseNegatives;
    return {
      threshold, truePositives, falsePositives, trueNegatives, falseNegatives,
      precision: flagged ? truePositives / flagged : null, recall: positives ? truePositives / positives : null,
    };
  }

  function buckets(rows) {
    const inner = rows.map(([low, high, films, labels, predictions]) => ({
      lowerThresholdInclusive: low, upperThresholdExclusive: high, numWeightedExamples: films,
      totalWeightedLabel: labels, totalWeightedRefinedPrediction: predictions,
    }));
    const empty = {numWeightedExamples: 0, totalWeightedLabel: 0, totalWeightedRefinedPrediction: 0};
    // TFMA's histogram has a bucket below 0 and one from 1 on.
    return [{lowerThresholdInclusive: '-Infinity', upperThresholdExclusive: 0, ...empty}, ...inner,
      {lowerThresholdInclusive: 1, upperThresholdExclusive: 'Infinity', ...empty}];
  }

  function showPlots(curves, title) {
    const data = {};
    if (curves && curves.matrices.length) data.confusionMatrixAtThresholds = {matrices: curves.matrices.map(matrix)};
    if (curves && curves.buckets.length) data.calibrationHistogramBuckets = {buckets: buckets(curves.buckets)};
    if (Object.keys(data).length) {
      put('tfma-plot', 'tfma-nb-plot', data, {sliceName: title, metricKeys: PLOT_KEYS});
    } else {
      const note = document.createElement('p');
      note.textContent = `${title}: no plots were written for this choice.`;
      document.getElementById('tfma-plot').replaceChildren(note);
    }
  }

  function plots() {
    const [sliceSelect, plotSelect] = [document.getElementById('plot-slice'), document.getElementById('plot-output')];
    const loaded = new Map();
    const show = () => {
      const {title, number} = given.slices[sliceSelect.value];
      const {key, title: of} = given.plots[plotSelect.value];
      if (loaded.has(number)) {
        showPlots(loaded.get(number)[key], `${title} (${of})`);
        return;
      }
      // A script and not a request: that works from disk too.
      const script = document.createElement('script');
      script.src = `plots/${number}.js`;
      document.head.append(script);
    };
    window.cxrPlots = (number, curves) => {
      loaded.set(number, curves);
      show();
    };
    choices(sliceSelect, given.slices.map((one) => one.title));
    choices(plotSelect, given.plots.map((one) => one.title));
    sliceSelect.addEventListener('change', show);
    plotSelect.addEventListener('change', show);
    show();
  }

  function timeSeries() {
    const select = document.getElementById('series-slice');
    const titles = Object.keys(given.series);
    const show = () => put('tfma-series', 'tfma-nb-time-series', given.series[titles[select.value]], {isModelCentric: true});
    choices(select, titles);
    select.addEventListener('change', show);
    show();
  }

  if (given.data && given.data.length) widen(put('tfma-slicing', 'tfma-nb-slicing-metrics', given.data, given.config));
  if (given.slices && given.slices.length) plots();
  if (given.series && Object.keys(given.series).length) timeSeries();
})();
