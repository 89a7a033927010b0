/* SPDX-License-Identifier: Apache-2.0 */
/* A modal dialog: the browser's own, so that focus stays inside and goes back where it was. */
import { html, useEffect, useRef } from '../vendor/preact.js';

export function Dialog({ label, close, children, class: cls = '' }) {
  const ref = useRef();
  useEffect(() => {
    ref.current.showModal();
  }, []);
  const onCancel = (e) => {
    e.preventDefault();
    close();
  };
  return html`<dialog ref=${ref} class="dialog ${cls}" aria-label=${label} onCancel=${onCancel} onClick=${(e) => e.target === ref.current && close()}>${children}</dialog>`;
}
