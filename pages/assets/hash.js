// Keeps what a person selected in the part of the address after #: a copied link and Back restore it.
window.cxrHash = {
  read: () => new URLSearchParams(location.hash.slice(1)),

  write(values) {
    const parts = Object.entries(values)
      .filter(([, value]) => value)
      .map(([key, value]) => `${key}=${encodeURIComponent(value).replaceAll('%2C', ',')}`);
    history.replaceState(history.state, '', `#${parts.join('&')}`);
  },
};
