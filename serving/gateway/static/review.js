// The review of a study: image, answer, readings, and the way to its neighbours.

import { answerElements, definitions, technicalDetails } from './answer.js';
import { request, requestImage } from './api.js';
import { byId, element, replace, say } from './dom.js';
import { time } from './format.js';
import * as keys from './keys.js';
import { toApi } from './listquery.js';
import { poll } from './poll.js';
import * as reading from './reading.js';
import { Viewer } from './viewer.js';
import * as controls from './viewer_controls.js';

const POLL_S = 10;
const POLL_PENDING_S = 1.5;
const WINDOW_MS = 200;

const id = location.pathname.split('/').at(-1);
const api = `/v1/studies/${id}`;
const viewer = new Viewer(byId('stage'));
let study = null;
let number = 1;
let neighbours = {};
let linkedVersion;
let imageRequest = null;
let windowTimer = 0;
let isRendering = false;
// Whether the image on the stage has more than 256 values.
let hasMoreBits = false;

const refresh = poll(
  async () => {
    try {
      show(await request(api));
      say(byId('problem'), '');
    } catch (error) {
      say(byId('problem'), error.status === 404
        ? 'There is no such study.'
        : `The study was not updated: ${error.message}`);
      throw error;
    }
  },
  () => (study?.state === 'pending' ? POLL_PENDING_S : POLL_S),
);

function show(newStudy) {
  const isFirst = study === null;
  study = newStudy;
  const image = study.images[number - 1];
  if (isFirst) {
    const name = study.reference || id.slice(0, 8);
    document.title = `${name} · Review · cxr-triage`;
    byId('study-title').replaceChildren('Study ', study.reference || element('code', {}, name));
    byId('arrived').textContent = `Arrived ${time(study.arrived_at)}`;
    showImageNumbers();
    showImage();
  }
  replace(byId('answer'), ...answerElements(study, image));
  byId('details').hidden = false;
  replace(byId('details').lastElementChild, ...definitions(technicalDetails(study, image)).children);
  enableHeat();
  reading.showReadings(study);
  if (isFirst || study.version !== linkedVersion) showLinks();
}

function showImageNumbers() {
  if (study.images.length < 2) return;
  const group = byId('image-numbers');
  group.hidden = false;
  group.append('Image ', ...study.images.map((image, index) => {
    const button = element('button', {
      type: 'button', aria: { label: `Image ${index + 1}`, pressed: index === 0 },
    }, String(index + 1));
    button.addEventListener('click', () => choose(index + 1));
    return button;
  }));
}

function choose(newNumber) {
  if (!study || newNumber < 1 || newNumber > study.images.length) return;
  number = newNumber;
  byId('image-numbers').querySelectorAll('button').forEach((button, index) => {
    button.setAttribute('aria-pressed', index + 1 === number);
  });
  showImage();
  show(study);
}

async function showImage() {
  imageRequest?.abort();
  imageRequest = new AbortController();
  const image = study.images[number - 1];
  const label = study.images.length > 1
    ? `Chest X-ray, image ${number} of ${study.images.length}`
    : 'Chest X-ray';
  viewer.stage.setAttribute('aria-label', label);
  viewer.canvas.setAttribute('aria-label', `${label}, ${image.width} × ${image.height} pixels`);
  viewer.clear();
  hideHeat();
  enableHeat();
  say(byId('stage-message'), 'Loading …');
  try {
    const { blob, values } = await requestImage(
      `${api}/image?number=${number}`, imageRequest.signal,
    );
    await viewer.setImage(blob, values);
    hasMoreBits = values !== null;
    enableHeat();
    say(byId('stage-message'), '');
  } catch (error) {
    if (error.name === 'AbortError') return;
    say(byId('stage-message'), error.status === 410
      ? 'The image was removed after the time for which images are kept.'
      : `The image cannot be shown: ${error.status ? error.message : 'the service does not answer'}.`);
  }
}

/** Has the gateway apply the window to the stored values, of which the page has 256 grey levels. */
async function renderAgain() {
  if (!hasMoreBits || !viewer.hasImage || viewer.isFull || isRendering) return;
  isRendering = true;
  const { width, level } = viewer;
  const { signal } = imageRequest;
  try {
    const { blob, values } = await requestImage(
      `${api}/image?number=${number}&center=${level}&width=${width}`, signal,
    );
    if (!signal.aborted && !viewer.isFull) await viewer.setRendering(blob, values);
  } catch {
    // The earlier rendering stays, with the window applied to its grey levels.
  } finally {
    isRendering = false;
  }
  if (viewer.width !== width || viewer.level !== level) renderSoon();
}

function renderSoon() {
  clearTimeout(windowTimer);
  windowTimer = setTimeout(renderAgain, WINDOW_MS);
}

function enableHeat() {
  const { answer } = study.images[number - 1];
  byId('heat').disabled = !viewer.hasImage || !answer || Boolean(answer.reason);
}

async function toggleHeat() {
  const button = byId('heat');
  if (button.disabled) return;
  if (button.getAttribute('aria-pressed') === 'true') {
    hideHeat();
    return;
  }
  button.setAttribute('aria-busy', 'true');
  const shown = number;
  try {
    const { blob, version } = await requestImage(
      `${api}/explanation?number=${shown}`, imageRequest.signal,
    );
    if (shown !== number) return;
    await viewer.setHeat(blob);
    button.setAttribute('aria-pressed', 'true');
    byId('legend').hidden = false;
    byId('strength-label').hidden = false;
    const { answer } = study.images[number - 1];
    say(byId('legend-version'), Number(version) === answer.version ? ''
      : ` It is of version ${version}, not of version ${answer.version}, which answered.`);
  } catch (error) {
    if (error.name === 'AbortError') return;
    say(byId('stage-message'), `There is no heat map: ${error.message}`);
    setTimeout(() => say(byId('stage-message'), ''), 6000);
  } finally {
    button.removeAttribute('aria-busy');
  }
}

function hideHeat() {
  viewer.setHeat(null);
  byId('heat').setAttribute('aria-pressed', 'false');
  byId('legend').hidden = true;
  byId('strength-label').hidden = true;
}

async function showLinks() {
  linkedVersion = study.version;
  try {
    neighbours = await request(`/studies/${id}/links?${toApi(location.search)}`);
  } catch {
    // The study can be read without them; the next update tries again.
    linkedVersion = undefined;
    return;
  }
  for (const name of ['previous', 'next']) {
    const link = byId(name);
    if (neighbours[name]) {
      link.href = `/studies/${neighbours[name]}${location.search}`;
      link.removeAttribute('aria-disabled');
    } else {
      link.removeAttribute('href');
      link.setAttribute('aria-disabled', 'true');
    }
  }
  byId('card-link').hidden = !neighbours.model_card;
  if (neighbours.model_card) byId('card-link').firstElementChild.href = neighbours.model_card;
}

function go(name) {
  if (byId(name).href) byId(name).click();
  else byId('reading-status').textContent = `There is no ${name} study in this list.`;
}

reading.connect(id, async (newStudy, goesOn) => {
  show(newStudy);
  if (!goesOn) return;
  // A study that arrived meanwhile may be the next one.
  await showLinks();
  if (neighbours.next) go('next');
  else byId('reading-status').textContent = '✓ Saved. This was the last study in this list.';
});
viewer.addEventListener('window', renderSoon);
byId('heat').addEventListener('click', toggleHeat);
byId('back').href = `/${location.search}#${id}`;
keys.listen({
  ...controls.connect(viewer),
  ...reading.keys,
  h: toggleHeat,
  n: () => go('next'),
  p: () => go('previous'),
  u: () => byId('back').click(),
  '[': () => choose(number - 1),
  ']': () => choose(number + 1),
}, viewer.stage);
window.addEventListener('pageshow', (event) => event.persisted && refresh());
