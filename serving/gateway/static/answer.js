// What the model answered about an image, as elements.

import { byId, element } from './dom.js';
import { estimate, finding, score, time } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';
// Reason -> a sentence.
const REASONS = JSON.parse(byId('answer').dataset.reasons);

/** The answer about an image of a study, and about the study if it has more images. */
export function answerElements(study, image) {
  if (study.images.length === 1) return [...imageAnswer(study, image), ...noteList(image)];
  const numbers = study.images.flatMap(({ answer }, index) => (answer?.flag ? [index + 1] : []));
  const flags = numbers.length ? `flagged: image ${numbers.join(', ')}` : 'no image is flagged';
  return [
    element('p', { className: 'soft' }, `Image ${study.images.indexOf(image) + 1} of `,
      `${study.images.length}${study.state === 'pending' ? '' : `; ${flags}`}`),
    ...imageAnswer(study, image),
    ...noteList(image),
  ];
}

/** What the reader should know about the file, e.g. that it is a scanned film. */
function noteList({ notes }) {
  if (!notes.length) return [];
  return [element('div', { className: 'notes' }, element('p', { className: 'soft' }, 'About the file'),
    element('ul', {}, ...notes.map((note) => element('li', {}, note))))];
}

function imageAnswer(study, image) {
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
      element('p', {}, `${REASONS[answer.reason] ?? `The reason is ${answer.reason}.`} `,
        'It is flagged so that nobody takes it for a normal one.'),
    ];
  }
  const point = study.operating_point;
  const parts = [
    verdict(answer.flag ? '⚑ Flagged' : 'Not flagged', answer.flag ? 'flagged' : 'plain'),
    element('p', { className: 'figure' }, element('b', {}, score(answer.probability)),
      ' calibrated probability of abnormal'),
  ];
  if (point?.threshold != null) {
    parts.push(scale(answer.probability, point.threshold), operatingPoint(point, answer.version));
  }
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

function operatingPoint(point, version) {
  return definitions([
    ['Flagged from', score(point.threshold)],
    ['Sensitivity', estimate(point.sensitivity)],
    ['Specificity', estimate(point.specificity)],
  ], `On the test images of model version ${version}; intervals by patient`);
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
    ...(answer ? [
      ['Model', `version ${answer.version}, ${answer.label}`],
      ['Answered', time(answer.answered_at)],
    ] : []),
  ];
}
