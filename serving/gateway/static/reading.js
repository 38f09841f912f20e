// The reading form and the readings of a study.

import { request } from './api.js';
import { byId, element, replace, say } from './dom.js';
import { finding, time, VERDICTS } from './format.js';

const form = byId('reading');
let isChanged = false;

/** Connects the form; `saved(study, goesOn)` is called after a reading is stored. */
export function connect(id, saved) {
  const save = async (goesOn) => {
    if (!form.reportValidity()) return;
    const values = new FormData(form);
    const buttons = form.querySelectorAll('button');
    for (const button of buttons) button.disabled = true;
    try {
      const study = await request(`/v1/studies/${id}/reading`, {
        method: 'POST',
        body: {
          verdict: values.get('verdict'),
          findings: values.getAll('findings'),
          text: values.get('text').trim(),
        },
      });
      reset();
      say(byId('reading-problem'), '');
      byId('reading-status').textContent = '✓ Saved';
      saved(study, goesOn);
    } catch (error) {
      say(byId('reading-problem'), `Not saved: ${error.message}`);
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  };
  byId('save').addEventListener('click', () => save(false));
  byId('save-next').addEventListener('click', () => save(true));
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && event.ctrlKey) save(true);
  });
  // A reading cannot be taken back, so Enter in a field does not save it.
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('input', () => {
    isChanged = true;
    byId('reading-status').textContent = '';
    showFindings();
  });
  window.addEventListener('beforeunload', (event) => {
    if (isChanged) event.preventDefault();
  });
  // A browser may restore what was chosen before.
  showFindings();
}

/** Key -> action. */
export const keys = {
  1: () => choose('normal'),
  2: () => choose('abnormal'),
  3: () => choose('not_assessable'),
  c: () => byId('text').focus(),
};

function choose(verdict) {
  const field = form.querySelector(`[value=${verdict}]`);
  field.focus();
  field.click();
}

function reset() {
  form.reset();
  isChanged = false;
  showFindings();
}

/** Findings belong to the verdict "abnormal" alone. */
function showFindings() {
  const isAbnormal = form.elements.verdict.value === 'abnormal';
  byId('findings').hidden = !isAbnormal;
  if (isAbnormal) return;
  for (const box of byId('findings').querySelectorAll('input')) box.checked = false;
}

export function showReadings(study) {
  const { readings } = study;
  replace(byId('reading-state'), element('span', {
    className: `badge ${study.is_read ? 'read' : 'unread'}`,
  }, study.is_read ? '✓ Read' : 'Unread'));
  replace(byId('readings'), ...(readings.length
    ? readings.toReversed().map((reading) => readingElement(reading))
    : [element('li', { className: 'soft' }, 'Nobody has read this study yet.')]));
}

function readingElement(reading) {
  const item = element('li', {},
    element('p', {}, element('b', {}, VERDICTS[reading.verdict] ?? reading.verdict),
      reading.findings.length ? `: ${reading.findings.map(finding).join(', ')}` : ''));
  if (reading.text) item.append(element('p', { className: 'comment' }, reading.text));
  item.append(element('p', { className: 'soft' }, `${reading.reader}, ${time(reading.read_at)}`));
  return item;
}
