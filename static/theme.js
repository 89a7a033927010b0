/* SPDX-License-Identifier: Apache-2.0 */
/* Sets the stored theme before the first paint; a classic script in the head, so that nothing flashes. */
(function () {
  let stored = null;
  try {
    stored = localStorage.getItem('hookmesh.theme');
  } catch { /* storage switched off: the system's theme it is */ }
  if (stored === 'light' || stored === 'dark') document.documentElement.dataset.theme = stored;
})();
