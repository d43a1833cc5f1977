// The page's icons: lines on a grid of 24, in the colour of their text.

import { html, svg } from '../../vendor/lit/index.js';

const PATHS = {
  fleet: 'M4 13a8 8 0 0 1 16 0M12 13l3.5-3.5M4 17.5h16',
  devices: 'M6 4h12a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1ZM9 8h6M9 12h6M9 16h2',
  commands: 'M5 7l5 5-5 5M13 17h6',
  alarms: 'M6 16.500V11a6 6 0 0 1 12 0v5.500l1.500 1.500h-15L6 16.500ZM10.500 20.500h3M12 3v2',
  sources: 'M4 6h5l3 6 3-6h5M4 18h5l3-6 3 6h5',
  webhooks: 'M9.500 14.500 14.500 9.500M11 7l1.500-1.500a4 4 0 0 1 6 6L17 13M13 17l-1.500 1.500a4 4 0 0 1-6-6L7 11',
  events: 'M5 6h14M5 12h14M5 18h9',
  quarantine: 'M12 4l8.5 15h-17L12 4ZM12 10v4M12 16.6v.1',
  admin:
    'M12 3.500l7 2.500v5.500c0 4.300-2.900 7.500-7 9-4.100-1.500-7-4.700-7-9V6l7-2.500ZM9 12l2.200 2.200L15.200 10',
  proof: 'M12 4l7 2.500v5c0 4.500-3 7.300-7 8.500-4-1.200-7-4-7-8.500v-5L12 4ZM9 12l2.200 2.200L15.500 10',
  projections: 'M12 4l8 4-8 4-8-4 8-4ZM4 12l8 4 8-4M4 16l8 4 8-4',
  console: 'M9 7l-5 5 5 5M15 7l5 5-5 5',
  account: 'M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM5 20c.6-3.4 3.4-5 7-5s6.400 1.600 7 5',
  search: 'M11 17a6 6 0 1 0 0-12 6 6 0 0 0 0 12ZM15.500 15.500 20 20',
  upload: 'M12 16V5M7.500 9.500 12 5l4.500 4.500M5 19h14',
  download: 'M12 5v11M7.500 11.500 12 16l4.500-4.500M5 19h14',
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6 6 18',
  menu: 'M4 7h16M4 12h16M4 17h16',
  sun: 'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 3v2M12 19v2M3 12h2M19 12h2M5.600 5.600 7 7M17 17l1.400 1.400M18.400 5.600 17 7M7 17l-1.400 1.400',
  moon: 'M19 14.500A7.500 7.500 0 0 1 9.500 5a7.500 7.500 0 1 0 9.500 9.500Z',
  system: 'M4 5h16v11H4zM9 20h6M12 16v4',
  left: 'M14 6l-6 6 6 6',
  right: 'M10 6l6 6-6 6',
  in: 'M11 17a6 6 0 1 0 0-12 6 6 0 0 0 0 12ZM15.500 15.500 20 20M8.500 11h5M11 8.500v5',
  out: 'M11 17a6 6 0 1 0 0-12 6 6 0 0 0 0 12ZM15.500 15.500 20 20M8.500 11h5',
  reset: 'M5 12a7 7 0 1 0 2.200-5.100L5 9M5 4.500V9h4.500',
  check: 'M5 12.500l4.500 4.500L19 7',
  key: 'M14.500 13.500a4.500 4.500 0 1 0-4.300-3.200L4 16.500V20h3.500l.5-2h2v-2l1.600-1.600',
  clock: 'M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16ZM12 8v4.500l3 1.700',
  file: 'M7 4h7l4 4v12H7zM14 4v4h4M10 13h5M10 16h5',
  folder: 'M4 6h6l2 2h8v11H4z',
  link: 'M10 14a4 4 0 0 0 5.700 0l3-3A4 4 0 0 0 13 5.300l-1 1M14 10a4 4 0 0 0-5.700 0l-3 3a4 4 0 0 0 5.700 5.700l1-1',
  save: 'M12 4v11M7.500 10.500 12 15l4.500-4.500M5 19h14',
  play: 'M8 5.500v13l10.500-6.500L8 5.500Z',
  pause: 'M9 6v12M15 6v12',
  up: 'M6 14l6-6 6 6',
  down: 'M6 10l6 6 6-6',
  copy: 'M9 9h10v10H9zM15 9V5H5v10h4',
  out_door: 'M14 5h5v14h-5M4 12h10M10 8l4 4-4 4',
  keyboard: 'M3 7h18v10H3zM7 10h.1M11 10h.1M15 10h.1M18 10h.1M8 14h8',
};

/** @param {keyof typeof PATHS} name */
export function icon(name) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    ${svg`<path d=${PATHS[name]}></path>`}
  </svg>`;
}
