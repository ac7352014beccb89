// Expression by structure: the tree of structures with a bar to the left and right for each hemisphere.
import { html, useState, useEffect, useMemo, useRef } from './html.js';
import { colour } from './structures.js';

export const MEASURES = { energy: 'expression_energy', density: 'expression_density', intensity: 'expression_intensity' };
const UNITS = { energy: 'density × intensity', density: 'share of pixels that express', intensity: 'grey levels, 0 to 255' };
const MOST_WHISKER = 2; // end of the longest whisker over the highest bar: longer ones would squeeze the bars
const WIDE = 5; // upper over lower end of an interval, above which a bar is drawn pale
const THIN = 0.5; // share of a structure with data, below which a bar is drawn pale
const WEAK = 0.1; // energy below which bars are said to be enlarged noise
const LEFT = 1;
const RIGHT = 2;
const BOTH = 3;

// What a page asks of a structure table, which has some 40 columns.
export const TABLE_COLUMNS = ['coverage', 'uncertainty_note',
  ...Object.keys(MEASURES).flatMap(name => [`expression_${name}`, `section_${name}`]),
  ...['energy', 'density'].flatMap(name => [`expression_${name}_lower`, `expression_${name}_upper`])].join(',');

// Columns of the service as rows: structure id -> hemisphere -> {energy, density, intensity, coverage, note,
// interval and section by measure}. Runs of earlier versions have neither intervals nor section energy.
export function tableOf(columns) {
  const found = new Map();
  columns.structure_id.forEach((id, n) => {
    if (!found.has(id)) found.set(id, {});
    const row = { coverage: columns.coverage?.[n] ?? null, note: columns.uncertainty_note?.[n] ?? '', interval: {}, section: {} };
    for (const [name, column] of Object.entries(MEASURES)) {
      row[name] = columns[column][n];
      const ends = ['lower', 'upper'].map(end => columns[`${column}_${end}`]?.[n]);
      if (ends.every(has)) row.interval[name] = ends;
      const section = columns[column.replace('expression', 'section')]?.[n];
      if (has(section)) row.section[name] = section;
    }
    found.get(id)[columns.hemisphere_id[n]] = row;
  });
  return found;
}

const has = value => value !== null && value !== undefined && value >= 0;

export function valueText(value) {
  if (!has(value)) return '–';
  if (value === 0) return '0';
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toPrecision(2);
}

// A value in words, with its interval and the section's value where there are such.
function told(row, measure) {
  const interval = row.interval[measure];
  const section = row.section[measure];
  return [`${measure} ${valueText(row[measure])}${interval ? ` (90 %: ${interval.map(valueText).join(' to ')})` : ''}`,
    section === undefined ? '' : `section ${measure} ${valueText(section)}`,
    `${Math.round(100 * (row.coverage ?? 0))} % covered`].filter(Boolean).join(', ');
}

const isPale = (row, [low, high]) => row.coverage < THIN || high > WIDE * low;

function bar(row, measure, top, side) {
  const value = row?.[measure];
  const coverage = row?.coverage ?? 0;
  const label = side === LEFT ? 'left' : 'right';
  if (!has(value) || coverage === 0) return html`<span class="bar ${label} none" title="${label}: no data"></span>`;
  const percent = value => 100 * Math.min(value / top, 1);
  const from = side === LEFT ? 'right' : 'left';
  const interval = row.interval[measure];
  const section = row.section[measure];
  return html`<span class="bar ${label}" title="${label}: ${told(row, measure)}${row.note ? `; ${row.note}` : ''}">
    <i class=${isPale(row, interval ?? [0, 0]) ? 'thin' : ''} style=${`width:${Math.max(percent(value), value > 0 ? 1 : 0)}%`}></i>
    <b style=${`width:${100 * coverage}%`}></b>
    ${interval && html`<span class="whisker ${interval[1] > top ? 'beyond' : ''}" style=${`${from}:${percent(interval[0])}%;width:${percent(interval[1]) - percent(interval[0])}%`}></span>`}
    ${section !== undefined && html`<span class="section" style=${`${from}:${percent(section)}%`}></span>`}
  </span>`;
}

// The highest bar or section mark, and the end of the axis: whiskers fit on it unless they would squeeze the bars.
function axis(rows, measure) {
  const highest = Math.max(...rows.flatMap(row => [row[measure], row.section[measure]].filter(has)), 1e-9);
  const ends = rows.filter(row => has(row[measure])).map(row => Math.min(row.interval[measure]?.[1] ?? 0, MOST_WHISKER * highest));
  return { highest, top: Math.max(highest, ...ends) };
}

export function Bars({ structures, table, selected, hovered, onSelect, onHover, measure, onMeasure }) {
  const [text, setText] = useState('');
  const [order, setOrder] = useState('anatomy');
  const [open, setOpen] = useState(() => firstOpen(structures, table));
  const list = useRef(null);
  useEffect(() => {
    if (!selected) return;
    const path = structures.path(selected).slice(0, -1).map(one => one.id);
    if (path.some(id => !open.has(id))) setOpen(new Set([...open, ...path]));
    requestAnimationFrame(() => list.current?.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest' }));
  }, [selected]);
  const rows = useMemo(() => rowsOf(structures, table, { text, order, open, measure }), [structures, table, text, order, open, measure]);
  const sides = rows.flatMap(({ one }) => [LEFT, RIGHT].map(side => table.get(one.id)?.[side]).filter(Boolean));
  const { highest, top } = axis(sides, measure);
  const hasWhiskers = sides.some(row => row.interval[measure]);
  const hasSections = sides.some(row => row.section[measure] !== undefined);
  const flip = id => {
    const next = new Set(open);
    if (!next.delete(id)) next.add(id);
    setOpen(next);
  };
  const key = (event, at) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const { one, parent } = rows[at];
    if (move) list.current.querySelectorAll('[role=treeitem]')[at + move]?.focus();
    else if (event.key === 'Enter' || event.key === ' ') onSelect(one.id === selected ? null : one.id);
    else if ((event.key === 'ArrowRight' || event.key === 'ArrowLeft') && parent) {
      if (open.has(one.id) === (event.key === 'ArrowLeft')) flip(one.id);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const faint = measure === 'energy' && highest < WEAK && rows.length > 0 && !text;
  return html`<section class="bars" aria-label="Expression by structure">
    <div class="row tools">
      <input type="search" id="structure-search" placeholder="Structure …  (s)" aria-label="Filter structures" value=${text}
        onInput=${event => setText(event.target.value)}
        onKeyDown=${event => {
          if (event.key === 'Enter' && rows.length) onSelect(rows[0].one.id);
          if (event.key === 'Escape') { setText(''); event.target.blur(); }
        }} />
      <select aria-label="Measure" title=${UNITS[measure]} value=${measure} onChange=${event => onMeasure(event.target.value)}>
        ${Object.keys(MEASURES).map(name => html`<option value=${name}>${name}</option>`)}
      </select>
      <select aria-label="Order" value=${order} onChange=${event => setOrder(event.target.value)}>
        <option value="anatomy">by anatomy</option><option value="value">by value</option>
      </select>
    </div>
    <div class="bars-head" aria-hidden="true"><span>structure${hasWhiskers && html` <em class="whisker-key" title="where the ${measure} lies with 90 % for an alignment, a detector and a series without mistakes, on the same grid">90 %</em>`}${hasSections && html` <em class="section-key" title="summed from the sections themselves, without the smoothing of the grid">sections</em>`}</span><span title="end of the scale, ${UNITS[measure]}">${valueText(top)} ◂ L</span><span>R ▸ ${valueText(top)}</span><span>${measure}</span><span title="share of the structure that the sections cover">cover</span></div>
    ${faint && html`<p class="weak" role="status">Hardly any expression: the bars end at ${valueText(highest)}.</p>`}
    <div class="list" role="tree" ref=${list} aria-label="Structures">
      ${rows.length ? rows.map(({ one, depth, parent }, at) => html`<div key=${one.id} role="treeitem" tabindex="0"
        aria-selected=${one.id === selected} aria-level=${depth + 1} aria-expanded=${parent ? open.has(one.id) : undefined}
        class="bar-row ${one.id === hovered ? 'hovered' : ''}" title=${rowTitle(one, table.get(one.id)?.[BOTH], measure)}
        onClick=${() => onSelect(one.id === selected ? null : one.id)} onKeyDown=${event => key(event, at)}
        onMouseEnter=${() => onHover(one.id)} onMouseLeave=${() => onHover(null)}>
        <span class="name" style=${`padding-left:${Math.min(depth, 9) * 11}px`}>
          ${parent && order === 'anatomy' && !text
            ? html`<button class="twist" tabindex="-1" aria-label="parts of ${one.acronym}" onClick=${event => { event.stopPropagation(); flip(one.id); }}>${open.has(one.id) ? '▾' : '▸'}</button>`
            : html`<span class="twist"></span>`}
          <i class="chip" style=${`background:${colour(one)}`}></i><span class="acronym">${one.acronym}</span> <small>${one.name}</small>
        </span>
        ${bar(table.get(one.id)?.[LEFT], measure, top, LEFT)}${bar(table.get(one.id)?.[RIGHT], measure, top, RIGHT)}
        <span class="value">${valueText(table.get(one.id)?.[BOTH]?.[measure])}</span>
        <${Covered} share=${table.get(one.id)?.[BOTH]?.coverage} />
      </div>`) : html`<p class="empty">No structure fits “${text}”.</p>`}
    </div>
  </section>`;
}

function rowTitle(one, row, measure) {
  if (!has(row?.[measure])) return one.name;
  return [one.name, `both: ${told(row, measure)}`, row.note].filter(Boolean).join('\n');
}

function Covered({ share }) {
  if (!has(share)) return html`<span class="value">–</span>`;
  return html`<span class="value ${share < THIN ? 'little' : ''}" title="share of the structure that the sections cover">${Math.round(100 * share)} %</span>`;
}

function firstOpen(structures, table) {
  const open = new Set();
  let level = structures.roots;
  while (level.length && level.length <= 8) {
    level.forEach(one => open.add(one.id));
    level = level.flatMap(one => structures.children.get(one.id) ?? []).filter(one => table.has(one.id));
  }
  return open;
}

function rowsOf(structures, table, { text, order, open, measure }) {
  const row = (one, depth) => ({ one, depth, parent: (structures.children.get(one.id) ?? []).some(child => table.has(child.id)) });
  if (text) return structures.search(text, 200).filter(one => table.has(one.id)).map(one => row(one, 0));
  if (order === 'value') {
    const leaves = structures.list.filter(one => has(table.get(one.id)?.[BOTH]?.[measure]));
    leaves.sort((a, b) => table.get(b.id)[BOTH][measure] - table.get(a.id)[BOTH][measure]);
    return leaves.slice(0, 150).map(one => row(one, 0));
  }
  const found = [];
  const walk = (one, depth) => {
    if (!table.has(one.id)) return;
    found.push(row(one, depth));
    if (open.has(one.id)) for (const child of structures.children.get(one.id) ?? []) walk(child, depth + 1);
  };
  structures.roots.forEach(one => walk(one, 0));
  return found;
}

// A few bars in a line, for lists of experiments.
export function SmallBars({ structures, table }) {
  const shown = structures.summary();
  const values = shown.map(one => table.get(one.id)?.[BOTH]?.energy);
  const top = Math.max(...values.filter(has), 1e-9);
  const text = shown.map((one, n) => `${one.acronym} ${valueText(values[n])}`).join(', ');
  return html`<span class="small-bars" role="img" aria-label="Energy: ${text}" title=${text}>
    ${shown.map((one, n) => html`<i class=${has(values[n]) ? '' : 'none'} style=${`height:${has(values[n]) ? Math.max((100 * values[n]) / top, 3) : 100}%;background-color:${has(values[n]) ? colour(one) : 'transparent'}`}></i>`)}
  </span>`;
}

// Sections by status as one strip; words beside the colours.
export function Quality({ sections, total }) {
  const shown = ['pass', 'check', 'fail', 'missing', 'unknown'].filter(name => sections[name]);
  const text = shown.map(name => `${sections[name]} ${name === 'unknown' ? 'not assessed' : name}`).join(', ');
  return html`<div class="quality" title=${text}>
    <span class="strip" aria-hidden="true">${shown.map(name => html`<i class=${name} style=${`flex:${sections[name]}`}></i>`)}</span>
    <span>${total} section${total === 1 ? '' : 's'}${shown.length ? `: ${text}` : ''}</span></div>`;
}
