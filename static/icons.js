/* SPDX-License-Identifier: Apache-2.0 */
/* The icons: one stroke width, one grid of 16, drawn for this page. */
import { html } from './vendor/preact.js';

const paths = {
  now: html`<path d="M1.5 8h3l2-5 3 10 2-5h3" />`,
  deliveries: html`<path d="M2 9.5 4 3h8l2 6.500V13H2z" /><path d="M2 9.500h3.500l1 1.500h3l1-1.500H14" />`,
  runs: html`<path d="M5 3.200v9.600L12.5 8z" />`,
  pipelines: html`<circle cx="3" cy="8" r="1.8" /><circle cx="13" cy="3.5" r="1.8" /><circle cx="13" cy="12.5" r="1.8" /><path d="M4.8 8H7c2 0 1.5-4.5 4.2-4.500M7 8c2 0 1.5 4.5 4.2 4.5" />`,
  keys: html`<circle cx="5" cy="11" r="2.8" /><path d="m7 9 6-6M10.5 5.500l2 2" />`,
  jobs: html`<rect x="2" y="2.5" width="12" height="4.5" rx="1.5" /><rect x="2" y="9" width="12" height="4.5" rx="1.5" /><path d="M4.8 4.750h.1M4.8 11.250h.1M7.5 4.750h4M7.5 11.250h4" />`,
  schedules: html`<circle cx="8" cy="8.8" r="5.2" /><path d="M8 6v2.800l1.8 1.2M2.2 3.8 4.4 2M13.8 3.8 11.6 2" />`,
  letters: html`<path d="M2 4h12v8.500H2z" /><path d="m2.3 4.3 5.7 4.500 5.7-4.5" />`,
  analytics: html`<path d="M2 13.500h12M4 11V8.500M7 11V4.500M10 11V7M13 11V2.5" />`,
  more: html`<path d="M3.5 8h.1M8 8h.1M12.5 8h.1" stroke-width="2.4" />`,
  clock: html`<path d="M4 1.800h8M4 14.200h8M5 1.800c0 3.7 6 5.5 6 12.400M11 1.800c0 3.7-6 5.5-6 12.400" />`,
  mail: html`<path d="M2 4h12v8.500H2z" /><path d="m2.3 4.3 5.7 4.500 5.7-4.5" />`,
  chat: html`<path d="M2.5 3h11v7.500H8L4.5 13.500v-3h-2z" />`,
  branch: html`<circle cx="4.5" cy="3.5" r="1.7" /><circle cx="4.5" cy="12.5" r="1.7" /><circle cx="11.5" cy="5" r="1.7" /><path d="M4.5 5.200v5.600M11.5 6.700c0 3-7 1.6-7 4.1" />`,
  bell: html`<path d="M3.5 11.500h9L11.3 9.500V6.600a3.3 3.3 0 0 0-6.6 0v2.900zM6.8 13.700h2.4" />`,
  trash: html`<path d="M2.8 4.300h10.400M6 4.300V2.500h4v1.800M4 4.300l.6 9.200h6.800l.6-9.2" />`,
  ok: html`<circle cx="8" cy="8" r="6.2" /><path d="m5.3 8.2 1.9 1.9 3.6-4" />`,
  bad: html`<circle cx="8" cy="8" r="6.2" /><path d="m5.9 5.9 4.2 4.200M10.1 5.900l-4.2 4.2" />`,
  dead: html`<path d="M5.4 1.800h5.200l3.6 3.600v5.200l-3.6 3.600H5.400l-3.6-3.600V5.400z" /><path d="M8 4.800v3.700M8 11v.1" />`,
  wait: html`<circle cx="8" cy="8" r="6.2" /><path d="M8 4.600V8l2.3 1.5" />`,
  queued: html`<circle cx="8" cy="8" r="6.2" stroke-dasharray="2.6 2.270" />`,
  run: html`<path d="M14.2 8A6.2 6.2 0 1 1 8 1.8" />`,
  skip: html`<circle cx="8" cy="8" r="6.2" /><path d="M5.3 8h5.4" />`,
  twice: html`<rect x="5.5" y="5.5" width="8.5" height="8.5" rx="2" /><path d="M10.5 2.500H4a2 2 0 0 0-2 2V11" />`,
  filter: html`<path d="M2 3.500h12M4.5 8h7M6.8 12.500h2.4" />`,
  shield: html`<path d="M8 1.6 13.5 4v4c0 3-2.3 5.3-5.5 6.400C4.8 13.3 2.5 11 2.5 8V4z" /><path d="m6 6.2 4 4M10 6.200l-4 4" />`,
  lost: html`<circle cx="8" cy="8" r="6.2" /><path d="M6.2 6.300c.2-2.3 3.7-2.2 3.7 0C9.9 7.7 8 7.7 8 9.200M8 11.400v.1" />`,
  ping: html`<circle cx="8" cy="8" r="1.6" /><path d="M4.7 11.300a4.7 4.7 0 0 1 0-6.600M11.3 4.700a4.7 4.7 0 0 1 0 6.6" />`,
  copy: html`<rect x="5.5" y="5.5" width="8.5" height="8.5" rx="2" /><path d="M10.5 2.500H4a2 2 0 0 0-2 2V11" />`,
  check: html`<path d="m3 8.5 3.2 3.200L13 4.6" />`,
  close: html`<path d="m4 4 8 8M12 4l-8 8" />`,
  search: html`<circle cx="7" cy="7" r="4.5" /><path d="m10.4 10.4 3.6 3.6" />`,
  retry: html`<path d="M13.5 8A5.5 5.5 0 1 1 11.6 3.8" /><path d="M13.8 1.600v3.200h-3.2" />`,
  stop: html`<rect x="3.5" y="3.5" width="9" height="9" rx="2" />`,
  sun: html`<circle cx="8" cy="8" r="3" /><path d="M8 1.200v1.600M8 13.200v1.600M1.2 8h1.600M13.2 8h1.600M3.2 3.200l1.1 1.100M11.7 11.700l1.1 1.100M12.8 3.200l-1.1 1.100M4.3 11.700l-1.1 1.1" />`,
  moon: html`<path d="M13.8 9.600A6 6 0 0 1 6.4 2.200a6 6 0 1 0 7.4 7.400z" />`,
  auto: html`<circle cx="8" cy="8" r="6" /><path d="M8 2v12a6 6 0 0 0 0-12z" fill="currentColor" />`,
  command: html`<path d="M5.8 5.800h4.400v4.400H5.800zM5.8 5.800V4A1.9 1.9 0 1 0 4 5.800zM10.2 5.800H12A1.9 1.9 0 1 0 10.2 4zM10.2 10.200V12a1.9 1.9 0 1 0 1.8-1.800zM5.8 10.200H4A1.9 1.9 0 1 0 5.8 12z" />`,
  help: html`<path d="M5.6 6c.2-3 4.8-2.8 4.8 0C10.4 7.8 8 7.9 8 9.800M8 12.600v.1" />`,
  right: html`<path d="m6 3.5 4.5 4.500L6 12.5" />`,
  left: html`<path d="M10 3.5 5.5 8l4.5 4.5" />`,
  down: html`<path d="m3.5 6 4.5 4.500L12.5 6" />`,
  up: html`<path d="M8 13V3.500M4 7.200l4-4 4 4" />`,
  link: html`<path d="M9.5 3H13v3.500M13 3 7.5 8.500M11.5 9.500V13h-8.500V4.500h3.5" />`,
  edit: html`<path d="m10.5 3 2.5 2.5-7.5 7.500H3v-2.500z" />`,
  log: html`<path d="M2.5 3.500h11M2.5 6.500h8M2.5 9.500h11M2.5 12.500h6" />`,
  report: html`<path d="M3.5 1.800h6l3 3v9.400h-9z" /><path d="M6 7h4M6 9.500h4M6 12h2" />`,
  redis: html`<ellipse cx="8" cy="4" rx="5.5" ry="2.2" /><path d="M2.5 4v8c0 1.2 2.5 2.2 5.5 2.200s5.5-1 5.5-2.200V4M2.5 8c0 1.2 2.5 2.2 5.5 2.200S13.5 9.2 13.5 8" />`,
};

export function Icon({ name, size = 16, class: cls = '' }) {
  return html`<svg class=${cls} width=${size} height=${size} viewBox="0 0 16 16" fill="none" stroke="currentColor"
    stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${paths[name]}</svg>`;
}

export function Mark({ size = 24 }) {
  return html`<svg width=${size} height=${size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2"
    stroke-linecap="round" aria-hidden="true"><path d="M6 5v14M6 13.500C6 10.5 8.5 9 12 9s6 1.5 6 5v5" />
    <g fill="var(--blue)" stroke="var(--bg)" stroke-width="1.6"><circle cx="6" cy="4.5" r="3" /><circle cx="6" cy="19.5" r="3" /><circle cx="18" cy="19.5" r="3" /></g></svg>`;
}
