// Repeats a request while the page is visible.

const SLOWEST_MS = 60_000;

/**
 * Calls `task` now, and `seconds()` after each time that it is done. It pauses while the tab is
 * hidden and slows down while `task` fails. Returns a function that calls it at once.
 */
export function poll(task, seconds) {
  let timer = 0;
  let failures = 0;
  let runs = 0;

  async function run() {
    clearTimeout(timer);
    const number = ++runs;
    try {
      await task();
      failures = 0;
    } catch (error) {
      if (error.name !== 'AbortError') failures += 1;
    }
    // A newer call has its own timer.
    if (number !== runs || document.hidden) return;
    timer = setTimeout(run, Math.min(seconds() * 1000 * 2 ** failures, SLOWEST_MS));
  }

  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (!document.hidden) run();
  });
  window.addEventListener('online', run);
  if (!document.hidden) run();
  return run;
}
