// Scale bar and readout of a stage.
import { html } from './html.js';
import { lengthText, roundLength } from './view.js';
import { copiedText, errorText, pointText, say } from './frame.js';

export function ScaleBar({ upp }) {
  if (!upp) return null;
  const length = roundLength(140 * upp);
  return html`<div class="scale-bar" aria-label="Scale: ${lengthText(length)}"><i style=${`width:${length / upp}px`}></i>${lengthText(length)}</div>`;
}

export async function copyPoint(point, space) {
  const text = copiedText(point, space);
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied ${text}`);
  } catch {
    say(`${text} (the browser keeps the clipboard to itself)`);
  }
}

// A structure and what it lies in: its own name first, since a narrow page cuts the end.
export const pathText = path => html`<b>${path.at(-1)?.name}</b>${path.length > 1 ? html` <span class="faint">in ${path.slice(0, -1).map(one => one.acronym).join(' › ')}</span>` : ''}`;

// What lies under the cursor, as text.
export function Readout({ read, structures, errorUm }) {
  if (!read) return html`<div class="readout" id="readout"><span class="faint">Point at the section to read it.</span></div>`;
  const { pixel, point_um: point, structure, values, error } = read;
  const path = structure && structures ? structures.path(structure.id) : [];
  return html`<div class="readout" id="readout">
    ${point ? html`<output class="point" data-p=${point[0].toFixed(1)} data-i=${point[1].toFixed(1)} data-r=${point[2].toFixed(1)}>${pointText(point)}</output>
      <span class="error-um">${errorText(errorUm)}</span>`
      : html`<span class="faint">${error ?? 'no place in the reference'}</span>`}
    <span class="structure" data-id=${structure?.id ?? 0} title=${path.map(one => one.name).join(' › ')}>
      ${point ? (structure ? pathText(path) : 'outside the brain') : ''}</span>
    <span class="pixel">x ${Math.round(pixel[0])}, y ${Math.round(pixel[1])} px</span>
    <span class="values">${values ? html`darkness ${values.photo === null ? '–' : 255 - values.photo}${values.mask === null ? '' : values.mask > 0 ? html` · <b>expressing ${values.mask}</b>` : ' · not expressing'}` : ''}</span>
  </div>`;
}
