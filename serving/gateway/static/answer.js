// What the model answered about an image, as elements.

import { element } from './dom.js';
import { estimate, finding, reason, score, time } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';

/** The answer about an image of a study. */
export function answerElements(study, image) {
  const { answer } = image;
  if (!answer) {
    return [
      verdict('Waiting for an answer', 'soft'),
      element('p', { className: 'soft' }, 'The study is stored. It can be read before it is scored.'),
    ];
  }
  if (answer.reason) {
    return [
      verdict('⚑ Not assessed', 'flagged'),
      element('p', {}, `The model did not assess this image: ${reason(answer.reason)}. `,
        'It is flagged so that it is not taken for a normal one.'),
    ];
  }
  const point = study.operating_point;
  const parts = [
    verdict(answer.flag ? '⚑ Flagged' : 'Not flagged', answer.flag ? 'flagged' : 'plain'),
    element('p', { className: 'figure' }, element('b', {}, score(answer.probability)),
      ' calibrated probability of an abnormal image'),
  ];
  if (point?.threshold != null) {
    parts.push(scale(answer.probability, point.threshold), operatingPoint(point));
  }
  parts.push(element('p', { className: 'soft' },
    `Model version ${answer.version}, answered ${time(answer.answered_at)}`));
  const findings = Object.entries(answer.findings);
  if (findings.length) parts.push(findingList(findings));
  return parts;
}

function verdict(text, kind) {
  return element('p', { className: `verdict ${kind}` }, text);
}

/** The probability and the threshold on a line from 0 to 1. */
function scale(probability, threshold) {
  const at = (value) => (6 + 188 * value).toFixed(1);
  const picture = svg('svg', {
    viewBox: '0 0 200 18', class: 'scale', role: 'img',
    'aria-label': `Probability ${score(probability)}, flagged from ${score(threshold)}`,
  });
  picture.append(
    svg('rect', { x: 6, y: 6, width: 188, height: 6, rx: 3, class: 'track' }),
    svg('rect', { x: 6, y: 6, width: at(probability) - 6, height: 6, rx: 3, class: 'bar' }),
    svg('line', { x1: at(threshold), x2: at(threshold), y1: 2, y2: 16, class: 'threshold' }),
    svg('circle', { cx: at(probability), cy: 9, r: 4.5, class: 'dot' }),
  );
  return picture;
}

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function operatingPoint(point) {
  return definitions([
    ['Flagged from', score(point.threshold)],
    ['Sensitivity', estimate(point.sensitivity)],
    ['Specificity', estimate(point.specificity)],
  ], 'On the test images of this version; intervals by patient');
}

function findingList(findings) {
  const sorted = findings.sort(([, a], [, b]) => b - a);
  return element('details', {}, element('summary', {}, 'Scores of findings'),
    definitions(sorted.map(([name, value]) => [finding(name), score(value)])));
}

/** Pairs of a name and a text. */
export function definitions(pairs, note = '') {
  const list = element('dl', {}, ...pairs.map(([name, text]) => element(
    'div', {}, element('dt', {}, name), element('dd', {}, text),
  )));
  if (!note) return list;
  return element('div', { className: 'point' }, list,
    element('p', { className: 'soft' }, note));
}

/** Versions, hashes and times. */
export function technicalDetails(study, image) {
  const { answer } = image;
  return [
    ['Study', study.id],
    ['Uploaded', time(study.arrived_at)],
    ['Image', `${image.kind.toUpperCase()}, ${image.width} × ${image.height} pixels`],
    ['SHA-256', image.sha256],
    ...(answer ? [['Model', `version ${answer.version}, ${answer.label}`]] : []),
  ];
}
