// Figures, times and names for people.

export const STATES = { pending: 'Waiting', scored: 'Scored', not_assessed: 'Not assessed' };
export const VERDICTS = {
  normal: 'Normal', abnormal: 'Abnormal', not_assessable: 'Not assessable',
};

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

export const finding = (name) => name.replaceAll('_', ' ');
export const time = (text) => TIME.format(new Date(text));
export const clock = (date) => CLOCK.format(date);
export const score = (value) => (value === null ? '–' : value.toFixed(3));
export const percent = (value) => (value === null ? '–' : `${(100 * value).toFixed(1)}\u00a0%`);
export const count = (number, noun, plural = `${noun}s`) =>
  `${number.toLocaleString('en')} ${number === 1 ? noun : plural}`;

/** "5 minutes ago"; after a day the date. */
export function age(text, now = Date.now()) {
  const seconds = (new Date(text) - now) / 1000;
  if (seconds > -60) return 'just now';
  if (seconds > -3600) return RELATIVE.format(Math.ceil(seconds / 60), 'minute');
  if (seconds > -86400) return RELATIVE.format(Math.ceil(seconds / 3600), 'hour');
  return time(text);
}

/** "95.5 % (87.5 to 100.0 %)" */
export function estimate({ value, lower, upper }) {
  if (value === null) return 'not known';
  if (lower === null || upper === null) return percent(value);
  return `${percent(value)} (${(100 * lower).toFixed(1)} to ${percent(upper)})`;
}

export function bytes(number) {
  return number < 1e6 ? `${Math.ceil(number / 1000)} kB` : `${(number / 1e6).toFixed(1)} MB`;
}
