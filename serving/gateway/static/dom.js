// Small helpers for elements.

export const byId = (id) => document.getElementById(id);

/** A new element; its properties may include `data` and `aria`. Texts are never read as HTML. */
export function element(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(aria)) made.setAttribute(`aria-${name}`, value);
  made.append(...children);
  return made;
}

/** Sets a text, and shows its element only if there is one. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
  target.hidden = !text;
}

/** Replaces the children of an element only if they differ: the focus and selections stay. */
export function replace(target, ...children) {
  const draft = element('div', {}, ...children);
  if (draft.innerHTML !== target.innerHTML) target.replaceChildren(...draft.childNodes);
}

/** Closes what is only needed at times on narrow screens, which else would show nothing else. */
export function foldOnNarrow() {
  const narrow = matchMedia('(max-width: 760px)');
  const fold = () => {
    for (const details of document.querySelectorAll('details.more')) details.open = !narrow.matches;
  };
  narrow.addEventListener('change', fold);
  fold();
}
