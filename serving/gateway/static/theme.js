// The choice of colours, kept in a cookie so that the server renders the page in them at once.

const YEAR_S = 365 * 24 * 3600;
const root = document.documentElement;
const choice = document.getElementById('theme');

choice.addEventListener('change', () => {
  root.dataset.theme = choice.value;
  document.cookie =
    `${root.dataset.themeCookie}=${choice.value}; path=/; max-age=${YEAR_S}; samesite=strict`;
});
