// The gallery: filters the images, and draws heat maps over their thumbnails.
(function () {
  'use strict';
  const PAGE = 12;
  // Colour-blind people see this orange on grey.
  const COLOUR = [255, 120, 0];
  const STRENGTH = 0.7;
  const form = document.getElementById('filters');
  const selects = [...form.querySelectorAll('select')];

  function matches(card) {
    return selects.every(({name, value}) => {
      if (!value) return true;
      if (name === 'finding') return card.dataset.findings.split('|').includes(value);
      return card.getAttribute(`data-${name.replace('_', '-')}`) === value;
    });
  }

  // The filters in use, such as "Sex: female, Age: 60–79".
  const filters = () =>
    selects
      .filter(({value}) => value)
      .map((select) => `${select.labels[0].firstChild.textContent.trim()}: ${select.selectedOptions[0].text}`)
      .join(', ');

  // Shows the first `limit` cards of a section that pass the filters.
  function show(section, limit) {
    const cards = [...section.querySelectorAll('.gallery > li')];
    const matching = new Set(cards.filter(matches));
    let visible = 0;
    for (const card of cards) {
      card.hidden = !matching.has(card) || visible >= limit;
      visible += card.hidden ? 0 : 1;
    }
    const which = filters() ? ` (${filters()})` : '';
    section.querySelector('[role=status]').textContent = cards.length
      ? `${visible} of ${matching.size} pictures${which} are shown.`
      : '';
    const more = section.querySelector('.more');
    if (more) more.hidden = visible === matching.size;
    section.dataset.limit = limit;
    showHeatMaps(section);
  }

  const sections = [...document.querySelectorAll('section.kind')];
  const showAll = () => sections.forEach((section) => show(section, PAGE));

  // The parts of a heat map as an image of one pixel each: the stronger, the less transparent.
  function parts(text) {
    const [width, content] = text.split(':');
    const values = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const pixels = new ImageData(Number(width), values.length / width);
    values.forEach((value, index) => pixels.data.set([...COLOUR, STRENGTH * value], 4 * index));
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [pixels.width, pixels.height];
    canvas.getContext('2d').putImageData(pixels, 0, 0);
    return canvas;
  }

  function draw(button) {
    const picture = button.parentNode.querySelector('.picture');
    const image = picture.querySelector('img');
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.getAttribute('width'), image.getAttribute('height')];
    canvas.setAttribute('aria-hidden', 'true');
    const context = canvas.getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.drawImage(parts(button.dataset.heatMap), 0, 0, canvas.width, canvas.height);
    picture.append(canvas);
  }

  function setHeatMap(button, on) {
    button.setAttribute('aria-pressed', on);
    const canvas = button.parentNode.querySelector('canvas');
    if (on && !canvas) draw(button);
    if (!on && canvas) canvas.remove();
  }

  const all = document.getElementById('all-heat-maps');
  // Only visible cards get a canvas: hundreds would take memory.
  function showHeatMaps(section) {
    if (!all || !all.checked) return;
    for (const button of section.querySelectorAll('li:not([hidden]) [data-heat-map]')) {
      setHeatMap(button, true);
    }
  }

  document.addEventListener('click', (event) => {
    const heat = event.target.closest('[data-heat-map]');
    if (heat) setHeatMap(heat, heat.getAttribute('aria-pressed') !== 'true');
    const more = event.target.closest('.more');
    if (!more) return;
    const section = more.closest('section');
    const before = new Set(section.querySelectorAll('.gallery > li:not([hidden])'));
    show(section, Number(section.dataset.limit) + PAGE);
    // The keyboard goes on at the first new image: the button may be gone.
    const cards = [...section.querySelectorAll('.gallery > li:not([hidden])')];
    cards.find((card) => !before.has(card)).focus();
  });
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('change', (event) => {
    if (event.target !== all) return showAll();
    for (const button of document.querySelectorAll('[data-heat-map]')) {
      const visible = !button.closest('li').hidden;
      if (!all.checked || visible) setHeatMap(button, all.checked);
    }
  });

  // Other pages link to a part of the gallery, such as gallery.html?sex=F&view_position=AP#missed.
  const wanted = new URLSearchParams(location.search);
  for (const select of selects) {
    const value = wanted.get(select.name);
    if (value && [...select.options].some((option) => option.value === value)) select.value = value;
  }
  showAll();
})();
