// The toolbar of the viewer.

import { byId } from './dom.js';

const STEP = 1.25;
const MOVE_PX = 60;
const WINDOW_STEP = 8;
const ANNOUNCE_MS = 600;

/** Connects the toolbar to a viewer; returns key -> action. */
export function connect(viewer) {
  const setMode = (dragsWindow) => {
    viewer.dragsWindow = dragsWindow;
    byId('mode-pan').setAttribute('aria-pressed', !dragsWindow);
    byId('mode-window').setAttribute('aria-pressed', dragsWindow);
    viewer.stage.classList.toggle('windowing', dragsWindow);
    viewer.moveBy(0, 0);
  };
  const actions = {
    'zoom-in': () => viewer.zoomBy(STEP),
    'zoom-out': () => viewer.zoomBy(1 / STEP),
    fit: () => viewer.fit(),
    actual: () => viewer.actualSize(),
    invert: () => viewer.invert(),
    reset: () => viewer.reset(),
    'mode-pan': () => setMode(false),
    'mode-window': () => setMode(true),
  };
  for (const [id, action] of Object.entries(actions)) byId(id).addEventListener('click', action);
  const setWindow = () => viewer.setWindow(Number(byId('width').value), Number(byId('level').value));
  byId('width').addEventListener('input', setWindow);
  byId('level').addEventListener('input', setWindow);
  byId('strength').addEventListener('input', (event) => {
    viewer.setStrength(Number(event.target.value) / 100);
  });
  viewer.addEventListener('change', () => show(viewer));
  viewer.stage.addEventListener('keydown', (event) => moveByKey(viewer, event));
  return {
    '+': actions['zoom-in'], '=': actions['zoom-in'], '-': actions['zoom-out'],
    f: actions.fit, a: actions.actual, i: actions.invert, 0: actions.reset,
    w: () => setMode(!viewer.dragsWindow),
    v: () => viewer.stage.focus(),
  };
}

function moveByKey(viewer, event) {
  const [x, y] = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  }[event.key] ?? [0, 0];
  if ((!x && !y) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (event.shiftKey) {
    viewer.changeWindow(x * WINDOW_STEP, y * WINDOW_STEP);
  } else {
    // The arrow names the part of the image to look at, as in a page that scrolls.
    viewer.moveBy(-x * MOVE_PX, -y * MOVE_PX);
  }
}

let announcement = 0;

const rounded = (value, viewer) => String(viewer.unit < 1 ? +value.toPrecision(3) : Math.round(value));

function show(viewer) {
  byId('zoom').textContent = `${viewer.zoom} %`;
  for (const name of ['width', 'level']) {
    const [min, max] = viewer[`${name}s`];
    const step = viewer.unit < 1 ? viewer.unit : 1;
    Object.assign(byId(name), { min, max, step, value: viewer[name] });
    document.querySelector(`output[for=${name}]`).textContent = rounded(viewer[name], viewer);
  }
  byId('invert').setAttribute('aria-pressed', viewer.inverted);
  byId('fit').setAttribute('aria-pressed', viewer.isFitted);
  clearTimeout(announcement);
  announcement = setTimeout(() => {
    byId('stage-status').textContent = [
      `Zoom ${viewer.zoom} %`,
      viewer.isFull ? 'full window'
        : `window ${rounded(viewer.width, viewer)}, level ${rounded(viewer.level, viewer)}`,
      viewer.inverted ? 'inverted' : '',
    ].filter(Boolean).join(', ');
  }, ANNOUNCE_MS);
}
