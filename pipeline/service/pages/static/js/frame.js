// What every page has: header, keys with their help, messages.
import { html, signal, useEffect, useRef, useState } from './html.js';
import { otherSide } from './space.js';

const message = signal(null);
let timer = 0;

// One line at the foot of the page; errors stay until they are closed.
export function say(text, kind = 'note') {
  clearTimeout(timer);
  message.value = { text, kind };
  if (kind === 'note') timer = setTimeout(() => (message.value = null), 4000);
}

const helping = signal(false);

export function Frame({ title, place, tools, keys = [], children }) {
  useEffect(() => {
    document.title = `${title} · ish`;
  }, [title]);
  useEffect(() => {
    const byKey = new Map(keys.flatMap(([names, , act]) => names.split(' ').map(name => [name, act])));
    const pressed = event => {
      const typing = event.target.closest('input:not([type=range]):not([type=checkbox]), select, textarea');
      if (event.key === 'Escape') {
        helping.value = false;
        message.value = null;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
      if (event.key === '?') {
        helping.value = !helping.value;
        event.preventDefault();
        return;
      }
      const presses = event.target.closest('button, a, summary, [role=treeitem], input[type=checkbox]');
      if (presses && (event.key === 'Enter' || event.key === ' ')) return;
      if (event.target.matches('input[type=range]') && event.key.startsWith('Arrow')) return;
      const act = byKey.get(event.shiftKey && event.key.startsWith('Arrow') ? `Shift+${event.key}` : event.key);
      if (act) {
        act(event);
        event.preventDefault();
      } else if (event.key === '/' && !byKey.has('/')) {
        location.href = '/?find=1';
        event.preventDefault();
      }
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  });
  const link = (href, name, here) => html`<a href=${href} aria-current=${here ? 'page' : undefined}>${name}</a>`;
  return html`<a class="skip" href="#main">Skip to content</a>
    <header class="top">
      <a class="brand" href="/" aria-label="ish, experiments"><img src=${new URL('../icon.svg', import.meta.url).href} alt="" width="22" height="22" /> ish</a>
      <nav aria-label="Pages">
        ${link('/', 'Experiments', place === 'home')} ${link('/sync', 'Synchronised', place === 'sync')} ${link('/atlas', 'Atlas', place === 'atlas')}
      </nav>
      <div class="tools">${tools}</div>
      <button class="plain" onClick=${() => (helping.value = true)} aria-label="Keys" title="Keys (?)">?</button>
    </header>
    <main id="main" class=${place} tabindex="-1">${children}</main>
    ${message.value && html`<div class="message ${message.value.kind}" role=${message.value.kind === 'error' ? 'alert' : 'status'}>
      <span>${message.value.text}</span><button class="plain" aria-label="Close" onClick=${() => (message.value = null)}>×</button></div>`}
    ${helping.value && html`<${Help} keys=${keys} />`}`;
}

function Help({ keys }) {
  const dialog = useRef(null);
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  const shown = names => names.split(' ').map(name => html`<kbd>${NAMES[name] ?? name.replace('Shift+', '⇧ ')}</kbd> `);
  const rows = [...keys, ['/', 'search'], ['?', 'these keys']];
  return html`<dialog ref=${dialog} class="help" onClose=${() => (helping.value = false)} aria-label="Keys">
    <h2>Keys</h2>
    <dl>${rows.map(([names, about]) => html`<dt>${shown(names)}</dt><dd>${about}</dd>`)}</dl>
    <form method="dialog"><button>Close</button></form>
  </dialog>`;
}

const NAMES = {
  ArrowLeft: '←', ArrowRight: '→', ArrowUp: '↑', ArrowDown: '↓',
  'Shift+ArrowLeft': '⇧ ←', 'Shift+ArrowRight': '⇧ →', 'Shift+ArrowUp': '⇧ ↑', 'Shift+ArrowDown': '⇧ ↓',
};

export function Failed({ error }) {
  return html`<div class="alone" role="alert"><h1>This cannot be shown</h1><p>${error.message}</p><p><a href="/">All experiments</a></p></div>`;
}

export const pointText = point => `P ${Math.round(point[0])} I ${Math.round(point[1])} R ${Math.round(point[2])} µm`;

// A point to be copied: spaces 9 and 10 count R from opposite sides, so the text says which one is meant.
export const copiedText = (point, space) => `${pointText(point)} (space ${space})`;

// Reads what `pointText` and `copiedText` write, and any three numbers, as a point of a space.
export function readPoint(text, space) {
  const stated = text.match(/space (9|10)/i);
  const numbers = text.replace(stated?.[0] ?? '', '').match(/-?\d+(\.\d+)?/g)?.map(Number) ?? [];
  if (numbers.length < 3) return null;
  const point = numbers.slice(0, 3);
  return stated && Number(stated[1]) !== space ? otherSide(point) : point;
}

// A box for copied coordinates and, where `named` can go to it, for a structure.
export function GoTo({ onPoint, space, named = null }) {
  const [text, setText] = useState('');
  const go = event => {
    event.preventDefault();
    const found = readPoint(text, space);
    if (found) onPoint(found);
    else if (!named?.(text.trim())) say(`“${text}”: expected coordinates such as ${pointText([6000, 3000, 4000])}${named ? ', or a structure' : ''}`, 'error');
  };
  const what = named ? 'P I R µm or structure' : 'P I R µm';
  return html`<form class="goto" role="search" onSubmit=${go}><input type="search" aria-label="Go to ${what}" placeholder="Go to ${what}" value=${text} onInput=${event => setText(event.target.value)} /></form>`;
}

// Keys that move a stage, the same on every page that has one.
export const stageKeys = (stageOf, whole) => [
  ['Shift+ArrowLeft Shift+ArrowRight Shift+ArrowUp Shift+ArrowDown', 'pan', event => {
    const [x, y] = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[event.key];
    stageOf()?.panBy(x, y);
  }],
  ['+ =', 'zoom in', () => stageOf()?.zoomBy(1.5)],
  ['- _', 'zoom out', () => stageOf()?.zoomBy(1 / 1.5)],
  ['f', whole, () => stageOf()?.fit()],
];

export const errorText = um => (um === null || um === undefined ? 'error not estimated' : `± ${Math.round(um)} µm`);
