// All experiments: filter by text, and the three searches whose rows open in the viewer.
import { html, signal, useEffect, useState, useRef } from './html.js';
import { get, V1 } from './api.js';
import { asked, askedNumber, put } from './address.js';
import { Frame, Failed, errorText } from './frame.js';
import { colour, loadStructures } from './structures.js';
import { Quality, SmallBars, tableOf, TABLE_COLUMNS } from './bars.js';

const PAGE = 60; // experiments that are shown at a time
const KINDS = { list: 'All', differential: 'Differential', correlation: 'Correlation', point: 'At a point' };
const structures = signal(null);
const noStructures = signal(null);
const chosen = signal(new Set());

export function Home() {
  const [kind, setKind] = useState(asked('search') in KINDS ? asked('search') : 'list');
  const [all, setAll] = useState(null);
  const [error, setError] = useState(null);
  const box = useRef(null);
  useEffect(() => {
    get('/experiments').then(setAll, setError);
    loadStructures().then(found => (structures.value = found), failure => (noStructures.value = failure.message));
    if (asked('find')) setTimeout(() => box.current?.focus(), 200);
    put({ find: null });
  }, []);
  const choose = next => {
    setKind(next);
    put({ search: next === 'list' ? null : next });
  };
  const keys = [
    ['/', 'search', () => (box.current ? box.current.focus() : (choose('list'), setTimeout(() => box.current?.focus())))],
    ['d', 'differential search', () => choose('differential')],
    ['c', 'correlation search', () => choose('correlation')],
    ['p', 'search at a point', () => choose('point')],
    ['s', 'open the chosen ones synchronised', openChosen],
  ];
  if (error) return html`<${Frame} title="Experiments" place="home"><${Failed} error=${error} /><//>`;
  const byId = new Map((all ?? []).map(one => [one.id, one]));
  return html`<${Frame} title="Experiments" place="home" keys=${keys}>
    <div class="home-head">
      <h1>Experiments</h1>
      <div role="tablist" aria-label="Kinds of search" class="tabs">
        ${Object.entries(KINDS).map(([name, label]) => html`<button role="tab" aria-selected=${name === kind} onClick=${() => choose(name)}>${label}</button>`)}
      </div>
      ${chosen.value.size > 0 && html`<button class="strong" onClick=${openChosen} disabled=${chosen.value.size < 2}>
        Open ${chosen.value.size} synchronised</button>`}
    </div>
    ${noStructures.value && html`<p class="notice">${noStructures.value}</p>`}
    ${all === null ? html`<p class="empty">Loading …</p>`
      : kind === 'list' ? html`<${List} all=${all} box=${box} />`
      : html`<${Search} kind=${kind} byId=${byId} key=${kind} />`}
  <//>`;
}

function openChosen() {
  if (chosen.value.size >= 2) location.href = `/sync?ids=${[...chosen.value].join(',')}`;
}

function List({ all, box }) {
  const [text, setText] = useState(asked('q') ?? '');
  const [plane, setPlane] = useState(asked('plane') ?? '');
  const [most, setMost] = useState(PAGE);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = one => {
    const said = `${one.id} ${one.gene ?? ''} ${one.specimen ?? ''} ${one.treatment ?? ''} ${one.plane_of_section}`.toLowerCase();
    return (!plane || one.plane_of_section === plane) && words.every(word => said.includes(word));
  };
  const found = all.filter(fits);
  const change = next => {
    setText(next);
    put({ q: next });
  };
  return html`<div class="row tools find">
      <input type="search" ref=${box} placeholder="Gene, id, specimen …  (/)" aria-label="Filter experiments" value=${text}
        onInput=${event => change(event.target.value)}
        onKeyDown=${event => {
          if (event.key === 'Enter' && found.length) location.href = `/experiment/${found[0].id}`;
          if (event.key === 'Escape') event.target.blur();
        }} />
      <select aria-label="Plane" value=${plane} onChange=${event => { setPlane(event.target.value); put({ plane: event.target.value }); }}>
        <option value="">every plane</option><option>coronal</option><option>sagittal</option>
      </select>
      <span class="count" role="status">${found.length} of ${all.length}</span>
    </div>
    ${found.length === 0 && html`<p class="empty">${all.length ? html`No experiment fits. <button onClick=${() => { change(''); setPlane(''); put({ plane: null }); }}>Show all ${all.length}</button>` : 'No run is finished yet. Finished ones appear within a minute.'}</p>`}
    ${structures.value && found.length > 0 && html`<p class="hint key">Bars: energy in ${structures.value.summary().map(one => html`<span key=${one.id} title=${one.name}><i class="chip" style=${`background:${colour(one)}`}></i> ${one.acronym}</span> `)} each card to its own scale</p>`}
    <ul class="cards">${found.slice(0, most).map(one => html`<${Card} one=${one} key=${one.id} />`)}</ul>
    ${found.length > most && html`<button class="more" onClick=${() => setMost(most + PAGE)}>Show ${Math.min(PAGE, found.length - most)} more</button>`}`;
}

function Card({ one }) {
  const [bare, setBare] = useState(one.is_run && !one.sections.pass && !one.sections.check);
  const total = Object.values(one.sections).reduce((sum, n) => sum + n, 0);
  const { pass, ...others } = one.sections;
  const sections = one.is_run ? one.sections : { ...others, unknown: pass }; // what nobody judged did not pass
  const picked = chosen.value.has(one.id);
  return html`<li class="card ${picked ? 'picked' : ''}">
    <a href="/experiment/${one.id}">
      <span class="thumb">${bare ? html`<span class="no-thumb">no picture</span>`
        : html`<img loading="lazy" alt="" src=${pictureOf(one, 320)} onError=${() => setBare(true)} />`}</span>
      <strong class=${one.gene ? '' : 'faint'} title=${one.gene ?? ''}>${one.gene || 'Gene not given'}</strong>
      <span class="about" title=${one.specimen ?? ''}>${one.id} · ${one.plane_of_section}${one.specimen ? ` · ${one.specimen}` : ''}</span>
    </a>
    <${Quality} sections=${sections} total=${total} />
    <div class="foot"><span>${errorText(one.estimated_error_um)}</span>
      <${LazyBars} id=${one.id} tabled=${one.has_table && Boolean(one.sections.pass || one.sections.check)} />
      <label class="pick"><input type="checkbox" checked=${picked} onChange=${() => choose(one.id)} /> <span class="hidden">${one.id}: </span>sync</label></div>
  </li>`;
}

// The reduced image of a run; of served grids, the largest energy along the normal of its sections.
const pictureOf = (one, size) => (one.is_run ? `${V1}/experiments/${one.id}/thumbnail?size=${size}`
  : `${V1}/experiments/${one.id}/projection?view=${one.plane_of_section}&zoom=4`);

function choose(id) {
  const next = new Set(chosen.value);
  if (!next.delete(id) && next.size < 6) next.add(id);
  chosen.value = next;
}

// Bars of an experiment, asked for when they come into sight.
function LazyBars({ id, tabled }) {
  const [table, setTable] = useState(null);
  const [why, setWhy] = useState('');
  const place = useRef(null);
  const known = structures.value;
  useEffect(() => {
    if (!tabled) setWhy('there is no structure table of it');
    if (!known || !place.current || !tabled) return undefined;
    const seen = new IntersectionObserver(entries => {
      if (!entries.some(entry => entry.isIntersecting)) return;
      seen.disconnect();
      const structure = known.summary().map(one => one.id).join(',');
      get(`/experiments/${id}/unionize`, { structure, hemisphere_id: 3, columns: TABLE_COLUMNS }).then(
        columns => setTable(tableOf(columns)), failure => setWhy(failure.message));
    });
    seen.observe(place.current);
    return () => seen.disconnect();
  }, [known, id]);
  return html`<span ref=${place} class="bars-place" title=${why}>${table ? html`<${SmallBars} structures=${known} table=${table} />` : why ? html`<small>no table</small>` : ''}</span>`;
}

const FORMS = {
  differential: [['target', 'Target', 'text', ''], ['contrast', 'Contrast', 'text', 'root']],
  correlation: [['seed', 'Experiment', 'number', ''], ['domain', 'Domain', 'text', '']],
  point: [['p', 'P µm', 'number', ''], ['i', 'I µm', 'number', ''], ['r', 'R µm', 'number', '']],
};
const HINTS = {
  differential: 'Experiments with more expression in the target than in the contrast: acronyms or ids, separated by commas.',
  correlation: 'Experiments whose expression looks like that of one; a domain keeps the comparison to some structures.',
  point: 'Coronal experiments that are enriched where the expression is like that at a point.',
};
const NEEDED = { differential: ['target', 'contrast'], correlation: ['seed'], point: ['p', 'i', 'r'] };

function Search({ kind, byId }) {
  const [values, setValues] = useState(() => Object.fromEntries(FORMS[kind].map(([name, , , start]) => [name, asked(name) ?? start])));
  const [found, setFound] = useState(null);
  const [busy, setBusy] = useState(false);
  const [waiting, setWaiting] = useState(null);
  const [error, setError] = useState(null);
  const run = async () => {
    setBusy(true);
    setError(null);
    put(values);
    try {
      setFound(await get(`/search/${kind}`, { ...values, top: 100 }, setWaiting));
    } catch (failure) {
      setError(failure.message);
      setFound(null);
    }
    setBusy(false);
    setWaiting(null);
  };
  useEffect(() => {
    if (NEEDED[kind].every(name => values[name] !== '')) run();
    else document.querySelector('.search input')?.focus();
    return () => put(Object.fromEntries(FORMS[kind].map(([name]) => [name, null])));
  }, []);
  return html`<form class="row tools search" onSubmit=${event => { event.preventDefault(); run(); }}>
      ${FORMS[kind].map(([name, label, type]) => html`<label>${label} <input name=${name} inputmode=${type === 'number' ? 'decimal' : 'text'}
        list=${type === 'text' ? 'acronyms' : undefined} value=${values[name]} required=${NEEDED[kind].includes(name)} autocomplete="off"
        onInput=${event => setValues({ ...values, [name]: event.target.value })} /></label>`)}
      <button class="strong" disabled=${busy}>${busy ? 'Searching …' : 'Search'}</button>
      <datalist id="acronyms">${(structures.value?.list ?? []).map(one => html`<option value=${one.acronym}>${one.name}</option>`)}</datalist>
    </form>
    <p class="hint">${HINTS[kind]}</p>
    ${busy && html`<p class="empty" role="status">${waiting ? `${waiting.replace('; ask again', '')} …` : 'Searching …'}</p>`}
    ${error && html`<p class="notice" role="alert">${error}</p>`}
    ${found && html`<${Results} kind=${kind} found=${found} byId=${byId} values=${values} />`}`;
}

const COLUMNS = {
  differential: [['fold_change', 'fold change'], ['target_mean', 'target'], ['contrast_mean', 'contrast']],
  correlation: [['r', 'r'], ['voxels', 'voxels']],
  point: [['fold_change', 'fold change'], ['target_mean', 'here'], ['contrast_mean', 'around']],
};

function Results({ kind, found, byId, values }) {
  const columns = COLUMNS[kind].filter(([name]) => found.rows.some(row => name in row));
  const linked = row => {
    const at = kind === 'point' ? `?at=${values.p},${values.i},${values.r}`
      : kind === 'differential' && !values.target.includes(',') ? `?st=${encodeURIComponent(values.target)}` : '';
    return `/experiment/${row.section_data_set_id}${at}`;
  };
  if (!found.rows.length) return html`<p class="empty">Nothing was found. ${found.notes.join(' ')}</p>`;
  return html`${found.notes.map(note => html`<p class="notice">${note}</p>`)}
    <table class="results"><caption class="hidden">Experiments, best first</caption><thead><tr><th>#</th><th></th><th>gene</th><th>experiment</th><th>plane</th>
      ${columns.map(([, label]) => html`<th class="number">${label}</th>`)}<th>structures</th><th>error</th><th>sync</th></tr></thead>
    <tbody>${found.rows.map((row, n) => {
      const one = byId.get(row.section_data_set_id);
      return html`<tr key=${row.section_data_set_id} onClick=${event => { if (!event.target.closest('a, input, label')) location.href = linked(row); }}>
        <td class="rank" title=${rankTitle(row)}>${n + 1}${row.rank_first ? html` <small>${row.rank_first}–${row.rank_last}</small>` : ''}</td>
        <td class="tiny">${one ? html`<img loading="lazy" alt="" src=${pictureOf(one, 96)} onError=${event => event.target.remove()} />` : ''}</td>
        <td><a href=${linked(row)}>${row.gene || 'not given'}</a></td><td>${row.section_data_set_id}</td><td>${row.plane_of_section}</td>
        ${columns.map(([name]) => html`<td class="number">${number(row[name])}</td>`)}
        <td><${LazyBars} id=${row.section_data_set_id} tabled=${Boolean(one?.has_table)} /></td><td>${one ? errorText(one.estimated_error_um) : 'not served'}</td>
        <td><input type="checkbox" aria-label="synchronise ${row.section_data_set_id}" checked=${chosen.value.has(row.section_data_set_id)} onChange=${() => choose(row.section_data_set_id)} /></td></tr>`;
    })}</tbody></table>`;
}

const rankTitle = row => (row.rank_first ? `may rank ${row.rank_first} to ${row.rank_last} within the typical error of its experiment` : undefined);

function number(value) {
  if (value === 'inf') return '∞';
  if (typeof value !== 'number') return '–';
  return Number.isInteger(value) ? value.toLocaleString('en') : value.toPrecision(3);
}
