// Runs before the first paint, so that a dark page never flashes white. src/theme.js takes over from here.
{
  let choice = null;
  try {
    choice = localStorage.getItem('trackserver.theme');
  } catch {
    // Storage is refused in some iframes: follow the system then.
  }
  const dark = choice ? choice === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  if (location.pathname.startsWith('/embed/')) document.documentElement.classList.add('embed');
}
