// Outlines of structures: drawings of the service as paths of a canvas, with a hit test that is exact on them.
import { getText, V1, address } from './api.js';

const MOST_KEPT = 24;
const kept = new Map();

class Outlines {
  constructor(svg) {
    const drawing = new DOMParser().parseFromString(svg, 'image/svg+xml').documentElement;
    this.parts = [...drawing.querySelectorAll('path')].map(path => {
      const d = path.getAttribute('d');
      return { id: Number(path.getAttribute('structure_id')), path: new Path2D(d), box: boxOf(d) };
    });
    this.ids = new Set(this.parts.map(part => part.id));
    this.probe = document.createElement('canvas').getContext('2d');
  }

  // The structure at a pixel, 0 outside; drawings begin half a pixel before the first pixel's centre.
  at([x, y]) {
    const [u, v] = [x + 0.5, y + 0.5];
    const found = this.parts.find(({ path, box }) =>
      u >= box[0] && u <= box[2] && v >= box[1] && v <= box[3] && this.probe.isPointInPath(path, u, v, 'evenodd'));
    return found ? found.id : 0;
  }
}

// Left, top, right and bottom of a path: absolute coordinates, x and y in turn.
function boxOf(d) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  d.match(/-?[\d.]+/g).forEach((text, n) => {
    const value = Number(text);
    box[n % 2] = Math.min(box[n % 2], value);
    box[2 + (n % 2)] = Math.max(box[2 + (n % 2)], value);
  });
  return box;
}

export function loadOutlines(url) {
  if (!kept.has(url)) {
    const asked = getText(url).then(svg => new Outlines(svg));
    asked.catch(() => kept.delete(url));
    kept.set(url, asked);
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }
  return kept.get(url);
}

export const sectionOutlines = section => `${V1}/sections/${section.id}/outlines`;
export const plateOutlines = (plane, at_um) => address(`${V1}/plates/${plane}/drawing`, { at_um });
