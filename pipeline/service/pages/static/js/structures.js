// The structures of the reference: names, colours, and who is whose part.
import { get } from './api.js';

let asked = null;

class Structures {
  constructor(list) {
    this.list = list;
    this.byId = new Map(list.map(one => [one.id, one]));
    this.byOrder = new Map(list.map(one => [one.graph_order, one]));
    this.children = new Map();
    for (const one of list) {
      if (!this.children.has(one.parent_structure_id)) this.children.set(one.parent_structure_id, []);
      this.children.get(one.parent_structure_id).push(one);
    }
    this.roots = list.filter(one => !this.byId.has(one.parent_structure_id));
    this.spans = new Map(); // first and last place in a walk through the tree: parts lie within
    let at = 0;
    const walk = one => {
      const first = at++;
      for (const child of this.children.get(one.id) ?? []) walk(child);
      this.spans.set(one.id, [first, at - 1]);
    };
    this.roots.forEach(walk);
  }

  path(id) {
    const found = [];
    for (let one = this.byId.get(id); one; one = this.byId.get(one.parent_structure_id)) found.unshift(one);
    return found;
  }

  within(id, whole) {
    const part = this.spans.get(id);
    const span = this.spans.get(whole);
    return Boolean(part && span && part[0] >= span[0] && part[0] <= span[1]);
  }

  find(word) {
    if (!word) return null;
    return this.byId.get(Number(word)) ?? this.list.find(one => one.acronym === word) ?? null;
  }

  search(text, most = 60) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const score = one => {
      const acronym = one.acronym.toLowerCase();
      const name = one.name.toLowerCase();
      if (acronym === wanted || String(one.id) === wanted) return 0;
      if (acronym.startsWith(wanted)) return 1;
      if (name.startsWith(wanted)) return 2;
      if (name.includes(wanted) || acronym.includes(wanted)) return 3;
      return 9;
    };
    const found = this.list.map(one => [score(one), one]).filter(([value]) => value < 9);
    found.sort((a, b) => a[0] - b[0] || a[1].graph_order - b[1].graph_order);
    return found.slice(0, most).map(([, one]) => one);
  }

  // A dozen structures that sum up a brain: the original's twelve, or what lies two levels below the root.
  summary() {
    const twelve = ['Isocortex', 'OLF', 'HPF', 'CTXsp', 'STR', 'PAL', 'TH', 'HY', 'MB', 'P', 'MY', 'CB'];
    const known = twelve.map(word => this.list.find(one => one.acronym === word)).filter(Boolean);
    if (known.length >= 6) return known;
    const below = this.roots.flatMap(root => this.children.get(root.id) ?? []);
    return below.flatMap(one => this.children.get(one.id) ?? [one]).slice(0, 12);
  }
}

export function loadStructures() {
  asked ??= get('/structures').then(list => new Structures(list));
  return asked;
}

export const colour = one => `#${one.color_hex_triplet}`;

// Black or white, whichever reads better on the colour of a structure.
export function ink(one) {
  const [r, g, b] = [0, 2, 4].map(at => parseInt(one.color_hex_triplet.slice(at, at + 2), 16) / 255);
  return 0.2126 * r ** 2.2 + 0.7152 * g ** 2.2 + 0.0722 * b ** 2.2 > 0.3 ? '#10171d' : '#ffffff';
}
