// The address bar holds the whole state of a page: read once at the start, replaced whenever it changes.
import { idleWhen } from './idle.js';

const WAIT_MS = 150; // browsers refuse addresses that change more often

const state = new Map(new URLSearchParams(location.search));
let timer = 0;

export const asked = name => state.get(name) ?? null;
export const askedNumber = name => {
  const text = state.get(name);
  const value = Number(text);
  return text === undefined || text === '' || !Number.isFinite(value) ? null : value;
};
export const askedList = name => (state.get(name) ?? '').split(',').filter(word => word !== '');

// Numbers are written as short as their meaning allows, lists with commas; null leaves a name out.
export function put(changes) {
  for (const [name, value] of Object.entries(changes)) {
    const empty = Array.isArray(value) && !value.length;
    if (empty || value === null || value === undefined || value === '' || value === false) state.delete(name);
    else state.set(name, Array.isArray(value) ? value.join(',') : String(value));
  }
  if (!timer) timer = setTimeout(write, WAIT_MS);
}

export function write() {
  clearTimeout(timer);
  timer = 0;
  const text = [...state].map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll('%2C', ',')}`).join('&');
  const url = location.pathname + (text ? `?${text}` : '');
  if (url !== location.pathname + location.search) history.replaceState(null, '', url);
}

export const short = (value, digits = 1) => Number(value.toFixed(digits));

addEventListener('pagehide', write);
idleWhen(() => !timer);
