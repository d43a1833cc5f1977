// Sets the theme and the language before anything is drawn, so that nothing flashes. The one script that is no module.
(() => {
  const kept = (/** @type {string} */ key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const theme = kept('fleetlog.theme');
  if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
  const wanted = kept('fleetlog.language') ?? navigator.language;
  document.documentElement.lang = wanted.toLowerCase().startsWith('vi') ? 'vi' : 'en';
})();
