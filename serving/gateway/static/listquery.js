// The part of the work list that an address names, as the API wants it.

/** Filters with the days of the reader's calendar turned into times. */
export function toApi(query) {
  const values = new URLSearchParams(query);
  for (const name of ['since', 'until']) {
    const day = new Date(`${values.get(name)}T00:00`);
    if (Number.isNaN(day.getTime())) {
      values.delete(name);
      continue;
    }
    // The last day belongs to the range.
    if (name === 'until') day.setDate(day.getDate() + 1);
    values.set(name, day.toISOString());
  }
  return values;
}
