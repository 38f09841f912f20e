// Keys that work everywhere on a page. Those without Ctrl can be switched off, since speech input
// may trigger them (WCAG 2.1.4); they then work on the image alone.

import { byId } from './dom.js';

const SETTING = 'single-keys';
const TYPES_TEXT = 'input:not([type=radio], [type=checkbox], [type=range]), textarea, select';

/** Calls the action of a pressed key; `stage` is where they always work. */
export function listen(actions, stage) {
  const setting = byId('single-keys');
  setting.checked = localStorage.getItem(SETTING) !== 'off';
  setting.addEventListener('change', () => {
    localStorage.setItem(SETTING, setting.checked ? 'on' : 'off');
  });
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (event.target.matches(TYPES_TEXT) || byId('help').open) return;
    if (!setting.checked && !stage.contains(event.target)) return;
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });
  const help = () => byId('help').showModal();
  byId('open-help').addEventListener('click', help);
  actions['?'] = help;
}
