// The table of runs: filters, the columns with settings, and the runs selected for comparison.
(function () {
  'use strict';
  const table = document.getElementById('runs-table');
  if (!table) return;
  const byId = (id) => document.getElementById(id);
  const [words, state, status] = [byId('filter-words'), byId('filter-state'), byId('runs-status')];
  const [compare, clear, all, columns] = ['compare', 'clear', 'all-runs', 'columns'].map(byId);
  const rows = [...table.tBodies[0].rows];
  const box = (row) => row.querySelector('input[type=checkbox]');
  const hash = window.cxrHash.read();
  // In the order of selection: the comparison page takes the first for its reference.
  const selected = new Set(
    (hash.get('runs') || '').split(',').filter((slug) => rows.some((row) => row.dataset.run === slug)),
  );
  let chosenColumns = hash.has('columns') ? hash.get('columns').split(',') : null;

  // ---- Columns

  const switches = columns ? [...columns.querySelectorAll('input')] : [];

  function showColumn(input) {
    for (const cell of table.querySelectorAll(`[data-setting="${input.value}"]`)) cell.hidden = !input.checked;
  }

  function showColumns() {
    const scroll = table.closest('.scroll');
    const fits = () => scroll.scrollWidth <= scroll.clientWidth;
    for (const input of switches) {
      input.checked = chosenColumns ? chosenColumns.includes(input.value) : true;
      showColumn(input);
    }
    if (!chosenColumns) {
      for (const input of [...switches].reverse()) {
        if (fits()) break;
        input.checked = false;
        showColumn(input);
      }
      // A screen that is too narrow for the other columns scrolls anyway.
      if (!fits()) for (const input of switches) [input.checked] = [true, showColumn(input)];
    }
    countColumns();
  }

  function countColumns() {
    if (!columns) return;
    const shown = switches.filter((input) => input.checked).length;
    columns.querySelector('summary').textContent = `Settings that differ: ${shown} of ${switches.length} shown`;
  }

  // ---- Filters and selection

  function matches(row, wanted) {
    const text = row.textContent.toLowerCase();
    return (!state.value || row.dataset.state === state.value) && wanted.every((word) => text.includes(word));
  }

  function show() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      row.hidden = !matches(row, wanted);
      box(row).checked = selected.has(row.dataset.run);
      row.classList.toggle('marked', box(row).checked);
    }
    const shown = rows.filter((row) => !row.hidden);
    const hidden = rows.filter((row) => row.hidden && box(row).checked).length;
    status.textContent =
      `${shown.length} of ${rows.length} shown, ${selected.size} selected` + (hidden ? ` (${hidden} not shown)` : '');
    all.checked = shown.length > 0 && shown.every((row) => box(row).checked);
    all.indeterminate = !all.checked && selected.size > 0;
    clear.hidden = !selected.size;
    compare.textContent = selected.size > 1 ? `Compare ${selected.size} runs` : 'Side by side';
    const runs = [...selected].join(',');
    compare.href = `comparison.html${runs ? `#runs=${runs}` : ''}`;
    window.cxrHash.write({
      runs,
      q: words.value,
      state: state.value,
      columns: chosenColumns ? chosenColumns.join(',') || 'none' : '',
    });
  }

  function select(row, on) {
    if (on) selected.add(row.dataset.run);
    else selected.delete(row.dataset.run);
  }

  words.value = hash.get('q') || '';
  state.value = hash.get('state') || '';
  if (state.selectedIndex < 0) state.value = '';
  words.addEventListener('input', show);
  state.addEventListener('change', show);
  for (const row of rows) {
    box(row).addEventListener('change', (event) => {
      select(row, event.target.checked);
      show();
    });
  }
  all.addEventListener('change', () => {
    for (const row of rows) if (!row.hidden) select(row, all.checked);
    show();
  });
  clear.addEventListener('click', () => {
    selected.clear();
    show();
    words.focus();
  });
  for (const input of switches) {
    input.addEventListener('change', () => {
      chosenColumns = switches.filter((other) => other.checked).map((other) => other.value);
      showColumn(input);
      countColumns();
      show();
    });
  }
  for (const part of document.querySelectorAll('.needs-script')) part.hidden = false;
  showColumns();
  show();
})();
