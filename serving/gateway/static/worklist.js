// The work list: filters, order, pages and live updates. The address holds what is shown, so that
// it can be kept, and the review can lead back to it.

import { request } from './api.js';
import { byId, element, foldOnNarrow, say } from './dom.js';
import { age, clock, count, score, STATES, time } from './format.js';
import { toApi } from './listquery.js';
import { poll } from './poll.js';

const POLL_S = 5;
const POLL_PENDING_S = 2;
// What the way back from a review restores.
const SAVED = 'worklist';
const PAGE = 50;
const TYPING_MS = 250;
const DELAYED = 'Scoring is delayed by a problem of the model server. New studies are stored and wait; '
  + 'they can be read.';

const filters = byId('filters');
const table = byId('studies');
const body = table.tBodies[0];
const rows = new Map();
// The review leads back with the id of its study behind a #.
let reviewed = location.hash.slice(1);
// The cursors of the pages up to the one that is shown.
let cursors = history.state?.cursors ?? savedCursors() ?? [''];
let nextCursor = '';
let shownQuery = null;
let isWaiting = false;
let pending = null;

/** The filters and the order that differ from the default. */
function query() {
  const values = new URLSearchParams();
  for (const [name, value] of new FormData(filters)) {
    if (value && !(name === 'sort' && value === '-arrived')) values.set(name, value);
  }
  return values;
}

/** The page of the list on which the review began, if it was of the same filters. */
function savedCursors() {
  const saved = JSON.parse(sessionStorage.getItem(SAVED) ?? '{}');
  return reviewed && saved.search === location.search ? saved.cursors : null;
}

function saveCursors() {
  sessionStorage.setItem(SAVED, JSON.stringify({ search: location.search, cursors }));
}

function readAddress() {
  const values = new URLSearchParams(location.search);
  filters.reset();
  for (const [name, value] of values) {
    const field = filters.elements.namedItem(name);
    if (field) field.value = value;
  }
  if (!filters.elements.sort.value) filters.elements.sort.value = '-arrived';
}

async function load() {
  pending?.abort();
  const controller = new AbortController();
  pending = controller;
  const studyQuery = String(query());
  const values = toApi(studyQuery);
  values.set('limit', PAGE);
  if (cursors.at(-1)) values.set('cursor', cursors.at(-1));
  try {
    const page = await request(`/v1/worklist?${values}`, { signal: controller.signal });
    show(page, studyQuery, String(values));
    say(byId('problem'), '');
    say(byId('delayed'), isWaiting && await isDelayed() ? DELAYED : '');
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    // What is on the screen stays, with the time at which it was true.
    say(byId('problem'), error.status
      ? `The work list was not updated: ${error.message}`
      : 'The service does not answer. The list below may be out of date; it is updated as soon as '
        + 'the service is back.');
    throw error;
  }
}

/** Whether studies wait for longer than usual. */
async function isDelayed() {
  try {
    return (await request('/readyz')).model_server !== 'ok';
  } catch {
    return false;
  }
}

foldOnNarrow();
readAddress();
const refresh = poll(load, () => (isWaiting ? POLL_PENDING_S : POLL_S));

function show(page, studyQuery, wholeQuery) {
  const isUpdate = wholeQuery === shownQuery;
  shownQuery = wholeQuery;
  nextCursor = page.next_cursor;
  isWaiting = page.studies.some((study) => study.state === 'pending');
  const anchor = isUpdate ? anchorRow() : null;
  const top = anchor?.getBoundingClientRect().top;
  const ids = new Set(page.studies.map((study) => study.id));
  const added = page.studies.filter((study) => !rows.has(study.id));
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  page.studies.forEach((study, position) => {
    const row = rows.get(study.id) ?? newRow(study);
    rows.set(study.id, row);
    fill(row, study, studyQuery);
    const isNew = added.includes(study) || row.classList.contains('new');
    row.classList.toggle('new', isUpdate && isNew);
    if (body.rows[position] !== row) body.insertBefore(row, body.rows[position] ?? null);
  });
  // The row under the pointer or with the focus stays where it is.
  if (anchor?.isConnected) window.scrollBy(0, anchor.getBoundingClientRect().top - top);
  showSummary(page);
  if (isUpdate && added.length) {
    byId('news').textContent = `${count(added.length, 'new study', 'new studies')} in the list`;
  }
  saveCursors();
  if (reviewed) returnTo(rows.get(reviewed));
}

/** Goes on where the review left the list. */
function returnTo(row) {
  reviewed = '';
  history.replaceState({ cursors }, '', location.pathname + location.search);
  row?.querySelector('a').focus();
}

function anchorRow() {
  return body.querySelector('tr:focus-within') ?? body.querySelector('tr:hover');
}

function showSummary(page) {
  const isFiltered = [...query().keys()].some((name) => name !== 'sort');
  const studies = count(page.total, 'study', 'studies');
  const total = isFiltered ? `${studies} match these filters; others are not shown` : studies;
  if (byId('total').textContent !== total) byId('total').textContent = total;
  byId('updated').textContent = `Updated ${clock(new Date())}`;
  byId('clear-filters').hidden = !isFiltered;
  table.hidden = !page.studies.length;
  byId('empty').hidden = Boolean(page.studies.length);
  byId('empty').firstElementChild.textContent = isFiltered
    ? 'No study matches these filters.'
    : 'There are no studies yet.';
  byId('earlier').disabled = cursors.length === 1;
  byId('later').disabled = !nextCursor;
  const pages = Math.max(1, Math.ceil(page.total / PAGE));
  byId('page-number').textContent = `Page ${cursors.length} of ${Math.max(pages, cursors.length)}`;
  showOrder();
}

function showOrder() {
  const sort = filters.elements.sort.value;
  for (const heading of table.tHead.querySelectorAll('[data-sort]')) {
    const isDescending = sort === `-${heading.dataset.sort}`;
    if (isDescending || sort === heading.dataset.sort) {
      heading.setAttribute('aria-sort', isDescending ? 'descending' : 'ascending');
    } else {
      heading.removeAttribute('aria-sort');
    }
  }
}

function newRow(study) {
  const row = element('tr', { data: { id: study.id } });
  row.setAttribute('role', 'row');
  for (const name of ['study', 'arrived', 'state', 'flag', 'score', 'reading']) {
    const cell = element('td', { className: name });
    cell.setAttribute('role', 'cell');
    row.append(cell);
  }
  row.cells[0].append(element('a', {}));
  row.cells[1].append(element('time', { dateTime: study.arrived_at, title: time(study.arrived_at) }));
  return row;
}

function fill(row, study, studyQuery) {
  const [name, arrived, state, flag, value, reading] = row.cells;
  const link = name.firstChild;
  link.href = `/studies/${study.id}${studyQuery ? `?${studyQuery}` : ''}`;
  set(link, study.reference || study.id.slice(0, 8));
  link.classList.toggle('id', !study.reference);
  set(arrived.firstChild, age(study.arrived_at));
  badge(state, STATES[study.state] ?? study.state, `state ${study.state}`);
  if (study.flag === null) badge(flag, '–', 'soft');
  else badge(flag, study.flag ? '⚑ Flagged' : 'Not flagged', study.flag ? 'flagged' : 'soft');
  scoreCell(value, study.probability);
  badge(reading, study.is_read ? '✓ Read' : 'Unread', study.is_read ? 'read' : 'unread');
  row.dataset.read = study.is_read;
}

function scoreCell(cell, probability) {
  const text = score(probability);
  if (cell.dataset.text === text) return;
  cell.dataset.text = text;
  cell.replaceChildren(element('span', {}, text));
  if (probability === null) return;
  cell.append(element('meter', { min: 0, max: 1, value: probability, aria: { hidden: 'true' } }));
}

function badge(cell, text, className) {
  if (!cell.firstChild) cell.append(element('span'));
  set(cell.firstChild, text);
  cell.firstChild.className = `badge ${className}`;
}

function set(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Shows the first page of other filters or of another order. */
function change() {
  cursors = [''];
  const values = String(query());
  history.replaceState({ cursors }, '', values ? `?${values}` : location.pathname);
  refresh();
}

function turn(newCursors) {
  cursors = newCursors;
  history.pushState({ cursors }, '', location.href);
  refresh();
  byId('total').scrollIntoView({ block: 'nearest' });
}

let typing = 0;
filters.addEventListener('input', (event) => {
  clearTimeout(typing);
  typing = setTimeout(change, event.target.type === 'search' ? TYPING_MS : 0);
});
filters.addEventListener('submit', (event) => {
  event.preventDefault();
  change();
});
byId('clear-filters').addEventListener('click', () => {
  const { sort } = filters.elements;
  const order = sort.value;
  filters.reset();
  sort.value = order;
  change();
  filters.elements.search.focus();
});
table.tHead.addEventListener('click', (event) => {
  const heading = event.target.closest('[data-sort]');
  if (!heading) return;
  const { sort } = filters.elements;
  const name = heading.dataset.sort;
  sort.value = sort.value === `-${name}` ? name : `-${name}`;
  change();
});
byId('later').addEventListener('click', () => turn([...cursors, nextCursor]));
byId('earlier').addEventListener('click', () => turn(cursors.slice(0, -1)));
body.addEventListener('keydown', (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const row = event.target.closest('tr');
  const other = step && body.rows[row.sectionRowIndex + step];
  if (!other) return;
  event.preventDefault();
  other.querySelector('a').focus();
});
window.addEventListener('popstate', (event) => {
  cursors = event.state?.cursors ?? [''];
  readAddress();
  refresh();
});
// From the back/forward cache, with what was true when the page was left.
window.addEventListener('pageshow', (event) => event.persisted && refresh());
document.addEventListener('studies-changed', refresh);
