// Sends the statistics of this page to Facets Overview in its frame, which all runs share.
(function () {
  'use strict';
  const frame = document.getElementById('facets');
  const content = document.getElementById('facets-data');
  if (!frame || !content) return;
  const send = () => frame.contentWindow.postMessage({facets: JSON.parse(content.textContent)}, '*');
  // The frame may load later than this page: it asks for the statistics when it is ready.
  window.addEventListener('message', (event) => {
    if (event.source === frame.contentWindow && event.data === 'facets ready') send();
  });
  send();
})();
