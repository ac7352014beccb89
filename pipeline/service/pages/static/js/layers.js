// The layers of a stage and what can be changed about each.
import { html } from './html.js';
import { MAP_NAMES, gradient } from './colours.js';
import { asked, askedNumber } from './address.js';

const LETTERS = { photo: 'p', mask: 'm', outlines: 'o', error: 'e' };
export const START = { photo: true, mask: true, outlines: true, error: false, opacity: 0.85, threshold: 1, map: 'original' };

// What the address says of the layers.
export function askedLook(start = START) {
  const letters = asked('l');
  const found = { ...start };
  if (letters !== null) for (const [name, letter] of Object.entries(LETTERS)) found[name] = letters.includes(letter);
  found.opacity = Math.min(1, Math.max(0, askedNumber('op') ?? start.opacity));
  found.threshold = Math.min(255, Math.max(1, Math.round(askedNumber('th') ?? start.threshold)));
  found.map = asked('map') in MAP_NAMES ? asked('map') : start.map;
  return found;
}

export function lookInAddress(look, start = START) {
  const letters = Object.entries(LETTERS).filter(([name]) => look[name]).map(([, letter]) => letter).join('');
  const differing = (name, value) => (look[name] === start[name] ? null : value);
  const same = Object.keys(LETTERS).every(name => look[name] === start[name]);
  return {
    l: same ? null : letters || '-',
    op: differing('opacity', look.opacity.toFixed(2)),
    th: differing('threshold', look.threshold),
    map: differing('map', look.map),
  };
}

export function Layers({ look, change, missing = {} }) {
  const box = (name, label) => html`<label class=${missing[name] ? 'off' : ''} title=${missing[name] ?? `${label} (${LETTERS[name]})`}>
    <input type="checkbox" checked=${look[name] && !missing[name]} disabled=${Boolean(missing[name])} onChange=${() => change({ [name]: !look[name] })} />
    ${label} <kbd>${LETTERS[name]}</kbd></label>`;
  return html`<fieldset class="layers"><legend class="hidden">Layers</legend>
    ${box('photo', 'photo')} ${box('mask', 'mask')}
    ${look.mask && !missing.mask && html`<span class="mask-look">
      <label title="Opacity of the mask">opacity <input type="range" min="0" max="1" step="0.05" value=${look.opacity}
        onInput=${event => change({ opacity: Number(event.target.value) })} /></label>
      <label title="Least intensity of the mask that is shown">≥ <output>${look.threshold}</output>
        <input type="range" min="1" max="255" step="1" value=${look.threshold} aria-label="intensity threshold"
          onInput=${event => change({ threshold: Number(event.target.value) })} /></label>
      <select aria-label="Colours of the mask" value=${look.map} onChange=${event => change({ map: event.target.value })}>
        ${Object.entries(MAP_NAMES).map(([name, label]) => html`<option value=${name}>${label}</option>`)}
      </select>
      <span class="legend" aria-label="from low to high intensity" style=${`background:${gradient(look.map)}`}><i>1</i><i>255</i></span>
    </span>`}
    ${box('outlines', 'outlines')} ${box('error', 'error')}
  </fieldset>`;
}
