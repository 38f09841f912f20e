// Marks the section in view in the table of contents.
(function () {
  'use strict';
  const bar = document.querySelector('nav.contents');
  if (!bar) return;
  const links = [...bar.querySelectorAll('a')];
  const headings = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  let current = null;

  function mark() {
    const line = bar.getBoundingClientRect().bottom + 40;
    const last = headings.findLastIndex((heading) => heading.getBoundingClientRect().top < line);
    const atEnd = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 2;
    const link = links[atEnd && last >= 0 ? links.length - 1 : last];
    if (link === current) return;
    current?.removeAttribute('aria-current');
    current = link;
    if (!link) return;
    link.setAttribute('aria-current', 'location');
    bar.scrollLeft = link.offsetLeft - (bar.clientWidth - link.offsetWidth) / 2;
  }

  window.addEventListener('scroll', mark, {passive: true});
  mark();
})();
