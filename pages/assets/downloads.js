// Adds buttons below each table that save all of its rows as CSV or JSON.
(function () {
  'use strict';

  // Unlike textContent, innerText separates the lines of a cell.
  // A cell with a checkbox has no content, and a shortened one has its full text as data-full.
  const cells = (row) =>
    [...row.cells]
      .filter((cell) => !cell.classList.contains('choose'))
      .map((cell) => (cell.dataset.full ?? cell.innerText).replace(/\s+/g, ' ').trim());

  function content(table) {
    return {
      columns: cells(table.tHead.rows[table.tHead.rows.length - 1]),
      data: [...table.tBodies].flatMap((body) => [...body.rows].map(cells)),
    };
  }

  function csvCell(text) {
    // A spreadsheet would run a text that starts like a formula; +0.5 and -0.5 are numbers.
    const formula = /^[=@]|^[+-](?![\d.])/.test(text);
    const safe = formula ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  const WRITERS = {
    csv: ({columns, data}) => [columns, ...data].map((row) => row.map(csvCell).join(',') + '\r\n').join(''),
    json: (rows) => JSON.stringify(rows, null, 1) + '\n',
  };

  function save(name, text) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], {type: 'text/plain'}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function prepare(table, number) {
    const box = document.createElement('div');
    box.className = 'downloads no-print';
    const name = (table.id || `table-${number + 1}`).replace(/-table$/, '');
    for (const [kind, write] of Object.entries(WRITERS)) {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = kind.toUpperCase();
      button.setAttribute('aria-label', `Save this table as ${kind.toUpperCase()}`);
      button.addEventListener('click', () => save(`${name}.${kind}`, write(content(table))));
      box.append(button);
    }
    (table.closest('.scroll') || table).after(box);
  }

  document.querySelectorAll('main table').forEach((table, number) => {
    if (table.tHead) prepare(table, number);
  });
})();
