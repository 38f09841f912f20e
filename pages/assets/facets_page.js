// Sends the statistics of this page to Facets Overview in its frame, which all runs share.
(function () {
  'use strict';
  const frame = document.getElementById('facets');
  const content = document.getElementById('facets-data');
  if (!frame || !content) return;
  const send = () =>
    frame.contentWindow.postMessage({facets: JSON.parse(content.textContent)}, '*');
  // The frame can load after this page: then it requests the statistics.
  window.addEventListener('message', (event) => {
    if (event.source === frame.contentWindow && event.data === 'facets ready') send();
  });
  send();
})();
