// Sorts tables by a click or Enter on a heading, and adds a search box to long ones that have no
// filters of their own (data-filters). A heading with data-sort="none" does not sort.
(function () {
  'use strict';
  const LONG = 12;

  // A cell sorts by its number if it starts with one, or else by its text.
  function value(row, column) {
    const cell = row.cells[column];
    const text = cell ? (cell.dataset.sort ?? cell.textContent).trim() : '';
    const number = parseFloat(text.replace(/,/g, '').replace(/^\+/, ''));
    return /^[+-]?[\d.]/.test(text) && !Number.isNaN(number) && !/^\d{4}-\d\d/.test(text)
      ? number
      : text;
  }

  const isMissing = (value) => value === '' || value === '–';

  // Missing values come last in both directions.
  function compare(one, other, descending) {
    if (isMissing(one) || isMissing(other)) return isMissing(one) - isMissing(other);
    return (descending ? -1 : 1) * byValue(one, other);
  }

  function byValue(one, other) {
    if (typeof one === typeof other) {
      return typeof one === 'number'
        ? one - other
        : one.localeCompare(other, 'en', {numeric: true});
    }
    return typeof one === 'number' ? -1 : 1;
  }

  function sort(table, heading) {
    const descending = heading.getAttribute('aria-sort') === 'ascending';
    for (const other of heading.parentNode.cells) other.removeAttribute('aria-sort');
    heading.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, heading.cellIndex), row]);
    rows.sort((one, other) => compare(one[0], other[0], descending));
    body.append(...rows.map((pair) => pair[1]));
  }

  function search(table, text, count) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    let visible = 0;
    for (const row of table.tBodies[0].rows) {
      const content = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => content.includes(word));
      visible += row.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${visible} of ${table.tBodies[0].rows.length}` : '';
  }

  function prepare(table) {
    for (const heading of table.tHead.rows[table.tHead.rows.length - 1].cells) {
      if (heading.dataset.sort === 'none') continue;
      heading.tabIndex = 0;
      heading.title = 'sort';
      heading.addEventListener('click', () => sort(table, heading));
      heading.addEventListener('keydown', (event) => {
        if (event.key === 'Enter') sort(table, heading);
      });
    }
    if ('filters' in table.dataset || table.tBodies[0].rows.length <= LONG) return;
    const box = document.createElement('div');
    box.className = 'search';
    const input = document.createElement('input');
    input.type = 'search';
    input.placeholder = 'Search this table';
    input.setAttribute('aria-label', 'Search this table');
    const count = document.createElement('small');
    input.addEventListener('input', () => search(table, input.value, count));
    box.append(input, count);
    table.closest('.scroll').before(box);
  }

  window.cxrPrepareTable = prepare;
  document.querySelectorAll('table.sortable').forEach(prepare);
})();
