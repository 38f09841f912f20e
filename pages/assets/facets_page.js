// Hands the statistics of this page to Facets Overview, which lives in a frame of its own: one copy for all runs.
(function () {
  'use strict';
  const frame = document.getElementById('facets');
  const content = document.getElementById('facets-data');
  if (!frame || !content) return;
  const send = () => frame.contentWindow.postMessage({facets: JSON.parse(content.textContent)}, '*');
  // Whoever is ready first: the frame asks when it can take them.
  window.addEventListener('message', (event) => {
    if (event.source === frame.contentWindow && event.data === 'facets ready') send();
  });
  send();
})();
