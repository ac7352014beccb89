// One import for what every component uses.
import { h, render } from '../vendor/preact.js';
import htm from '../vendor/htm.js';

export { useEffect, useRef, useState, useMemo } from '../vendor/preact-hooks.js';
export { signal, computed, effect, batch, untracked } from '../vendor/signals.js';
export { render };
export const html = htm.bind(h);
