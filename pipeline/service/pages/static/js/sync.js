// Two to six experiments, and planes of the atlas, on the same anatomical point: one leads, the others follow.
import { html, signal, useEffect, useRef, useState } from './html.js';
import { get, oneAtATime } from './api.js';
import { asked, askedList, askedNumber, put, short } from './address.js';
import { Frame, GoTo, errorText, pointText, readPoint, say, stageKeys } from './frame.js';
import { Layers, START, askedLook, lookInAddress } from './layers.js';
import { Stage } from './stage.js';
import { loadStructures } from './structures.js';
import { AtlasPane, ExperimentPane, SPACE } from './panes.js';
import { moved, turned } from './turning.js';
import { ScaleBar, copyPoint, pathText } from './scale.js';

const MOST = 6;
const PLANES = ['coronal', 'sagittal', 'horizontal'];
const START_UPP = 12;
const QUIET_LOOK = { ...START, mask: false };

const panes = signal([]);
const lead = signal(null);
const look = signal(askedLook(QUIET_LOOK));
const upp = signal(null);
const point = signal(null);
const pins = signal(readPins());
const structures = signal(null);
const read = signal(null);
const all = signal(null);

function readPins() {
  return (asked('pins') ?? '').split(';').map(text => readPoint(text, SPACE)).filter(Boolean).map((at, n) => ({ at, name: pinName(n), places: null }));
}

// Of the pins of the address, which are read before all that follows.
function pinName(n) {
  return String.fromCharCode(65 + (n % 26));
}

const paneOf = word => (word.startsWith('atlas:') ? new AtlasPane(word.slice(6)) : new ExperimentPane(Number(word)));

function begin() {
  const given = [...new Set(askedList('ids'))];
  const ids = given.filter(word => /^\d{1,15}$/.test(word));
  const atlas = askedList('atlas').filter(word => PLANES.includes(word)).map(word => `atlas:${word}`);
  const words = [...ids, ...new Set(atlas)];
  panes.value = words.slice(0, MOST).map(paneOf);
  const wrong = given.filter(word => !ids.includes(word));
  if (wrong.length) say(`“${wrong.join(', ')}”: expected numbers of experiments, separated by commas`, 'error');
  else if (words.length > MOST) say(`${words.length} panes were asked for and ${MOST} fit: ${words.slice(MOST).join(', ')} left out`, 'error');
  lead.value = panes.value.find(pane => pane.key === asked('lead')) ?? null;
}

function remember() {
  put({
    ids: panes.value.filter(pane => pane.id).map(pane => pane.id),
    atlas: panes.value.filter(pane => pane.plane).map(pane => pane.plane),
    lead: lead.value && lead.value !== panes.value[0] ? lead.value.key : null,
    at: point.value ? point.value.map(value => short(value)) : null,
    upp: upp.value ? short(upp.value, 3) : null,
    pins: pins.value.map(pin => pin.at.map(value => Math.round(value)).join(',')).join(';'),
  });
}

// --- leading and following -------------------------------------------------------------------------------

const experimentIds = except => panes.value.filter(pane => pane.id && pane !== except && pane.data).map(pane => pane.id);

const follow = oneAtATime(
  async leader => {
    const view = leader.stage.view();
    if (!view || !leader.place.value || leader.place.value.message) return null;
    return leader.lead(view.centre, experimentIds(leader));
  },
  (found, leader) => {
    if (!found || leader !== lead.value) return;
    leader.place.value = found.place;
    settle(found, leader);
  },
  error => say(error.message, 'error'),
);

function settle({ place, places }, leader) {
  point.value = place.point_um;
  for (const pane of panes.value) {
    if (pane === leader || !pane.stage) continue;
    const there = pane.plane ? pane.plates && pane.placeOf(place.point_um) : places.find(one => one.experiment_id === pane.id);
    if (there) pane.show(there, viewFor(pane, there, leader));
  }
  remember();
}

// Followers move with the leader at once, as far as their planes allow; the next answer puts them right.
function glide(leader, view) {
  const from = leader.place.value;
  if (!from?.axes_um) return;
  const step = [view.centre[0] - from.x, view.centre[1] - from.y];
  for (const pane of panes.value) {
    const there = pane.place.value;
    if (pane === leader || !pane.stage || pane.loading || !there?.axes_um) continue;
    const [x, y] = moved(from.axes_um, step, there.axes_um);
    pane.stage.goTo({ centre: [there.x + x, there.y + y], ...viewFor(pane, there, leader) }, true);
  }
}

function viewFor(pane, there, leader) {
  const view = leader.stage.view();
  pane.newestView = newest => (lead.value && lead.value !== pane ? viewFor(pane, newest, lead.value) : {});
  if (!view || !there.axes_um) return { upp: upp.value };
  return { upp: leader.stage.image.um / view.scale, ...turned(leader.place.value.axes_um, view, there.axes_um) };
}

function take(pane) {
  if (lead.value === pane || !pane.place.value || pane.place.value.message) return;
  lead.value = pane;
  remember();
}

// Puts a point of the reference at the middle of every pane.
async function goTo(target, scale = upp.value ?? START_UPP) {
  const ids = experimentIds(null);
  const [p, i, r] = target;
  try {
    const places = ids.length ? await get('/places', { p, i, r, experiments: ids.join(','), reference_space_id: SPACE }) : [];
    const found = pane => (pane.plane ? pane.plates && pane.placeOf(target) : places.find(one => one.experiment_id === pane.id));
    const usable = panes.value.filter(pane => found(pane) && !found(pane).message);
    for (const pane of panes.value) if (found(pane)?.message) pane.show(found(pane), {});
    if (!usable.length) return;
    if (!usable.includes(lead.value)) lead.value = usable[0];
    upp.value = scale;
    const leader = lead.value;
    await leader.show(found(leader), { upp: scale });
    follow(leader);
  } catch (error) {
    say(error.message, 'error');
  }
}

// A point that every pane shows: the middle of the series that covers least, else of the first.
async function startPoint() {
  const half = panes.value.find(pane => pane.data && pane.data.hemisphere !== 'both');
  const pane = half ?? panes.value.find(one => one.data);
  const placed = pane?.data.section_images.filter(one => one.aligned && one.width_px) ?? [];
  const seen = placed.filter(one => one.has_image || one.has_thumbnail);
  const aligned = seen.length ? seen : placed;
  const middle = aligned[aligned.length >> 1];
  if (!middle) return [6600, 3600, 4200];
  const { place } = await get(`/sections/${middle.id}/places`, { x: middle.width_px / 2, y: middle.height_px / 2, reference_space_id: SPACE });
  return place.point_um;
}

async function start() {
  await Promise.all(panes.value.map(pane => pane.asked));
  await Promise.all(panes.value.map(pane => pane.stage?.ready));
  if (!panes.value.length) return;
  const at = readPoint(asked('at') ?? '', SPACE);
  await goTo(at ?? (await startPoint()), askedNumber('upp') ?? START_UPP);
  pins.value.forEach(place);
}

// --- pins ------------------------------------------------------------------------------------------------

async function place(pin) {
  const [p, i, r] = pin.at;
  const ids = experimentIds(null);
  pin.places = ids.length ? await get('/places', { p, i, r, experiments: ids.join(','), reference_space_id: SPACE }).catch(() => []) : [];
  mark();
}

function mark() {
  for (const pane of panes.value) {
    if (!pane.stage) continue;
    const here = pin => (pane.plane ? pane.plates && pane.placeOf(pin.at) : pin.places?.find(one => one.experiment_id === pane.id));
    const marks = pins.value.map(pin => [pin, here(pin)]).filter(([, there]) => there && !there.message && pane.place.value
      && (pane.plane ? there.section_number === pane.place.value.section_number : there.section_image_id === pane.place.value.section_image_id));
    pane.stage.setMarks(marks.map(([pin, there]) => ({ pixel: [there.x, there.y], kind: 'pin', label: pin.name })));
  }
}

function pin() {
  if (!point.value) return;
  const used = new Set(pins.value.map(one => one.name));
  let n = 0;
  while (used.has(pinName(n))) n++;
  const added = { at: point.value, name: pinName(n), places: null };
  pins.value = [...pins.value, added];
  place(added);
  remember();
}

function unpin(one) {
  pins.value = pins.value.filter(other => other !== one);
  mark();
  remember();
}

// --- panes -----------------------------------------------------------------------------------------------

async function add(word) {
  if (!word || panes.value.some(pane => pane.key === word)) return;
  if (panes.value.length >= MOST) return say(`At most ${MOST} panes are shown; close one first.`, 'error');
  const pane = paneOf(word);
  panes.value = [...panes.value, pane];
  await pane.asked;
  await new Promise(resolve => setTimeout(resolve));
  await pane.stage?.ready;
  if (point.value && lead.value) follow(lead.value);
  else start();
  pins.value.forEach(place);
  remember();
}

function close(pane) {
  panes.value = panes.value.filter(one => one !== pane);
  if (lead.value === pane) {
    lead.value = panes.value.find(one => one.place.value && !one.place.value.message) ?? null;
    if (lead.value) follow(lead.value);
  }
  remember();
}

async function step(by) {
  const leader = lead.value;
  if (!leader) return;
  try {
    const next = await leader.step(by);
    if (!next) return;
    await leader.show(next, { upp: upp.value });
    follow(leader);
  } catch (error) {
    say(error.message, 'error');
  }
}

function changeLook(changes) {
  look.value = { ...look.value, ...changes };
  put(lookInAddress(look.value, QUIET_LOOK));
}

const leadBy = n => {
  const pane = panes.value[n];
  if (!pane) return;
  take(pane);
  document.getElementById(`pane-${pane.key}`)?.focus();
};
const stageOf = () => lead.value?.stage;
const keys = [
  ['ArrowLeft', 'section of the leader before', () => step(-1)],
  ['ArrowRight', 'section of the leader after', () => step(1)],
  ...stageKeys(stageOf, 'whole section'),
  ['1 2 3 4 5 6', 'which pane leads', event => leadBy(Number(event.key) - 1)],
  ['p', 'photo', () => changeLook({ photo: !look.value.photo })],
  ['m', 'mask', () => changeLook({ mask: !look.value.mask })],
  ['o', 'outlines', () => changeLook({ outlines: !look.value.outlines })],
  ['e', 'estimated error', () => changeLook({ error: !look.value.error })],
  ['x', 'pin the point in the middle', pin],
  ['c', 'copy the coordinates of the middle', () => point.value && copyPoint(point.value, SPACE)],
  ['v', 'go to copied coordinates', pasted],
];

async function pasted() {
  const text = await navigator.clipboard.readText().catch(() => '');
  const found = readPoint(text, SPACE);
  if (found) goTo(found);
  else document.querySelector('.goto input')?.focus();
}

export function Sync() {
  const [ready, setReady] = useState(false);
  useEffect(() => {
    begin();
    setReady(true);
    loadStructures().then(found => (structures.value = found), () => {});
    get('/experiments').then(found => (all.value = found), error => say(error.message, 'error'));
    const paste = event => {
      const found = !event.target.closest('input') && readPoint(event.clipboardData?.getData('text') ?? '', SPACE);
      if (found) goTo(found);
    };
    addEventListener('paste', paste);
    setTimeout(start);
    return () => removeEventListener('paste', paste);
  }, []);
  useEffect(() => {
    for (const pane of panes.value) pane.stage?.setLook(look.value);
  }, [look.value]);
  return html`<${Frame} title="Synchronised view" place="sync" keys=${keys} tools=${html`<${GoTo} onPoint=${target => goTo(target)} space=${SPACE} />`}>
    <div class="sync-head">
      <h1 class="hidden">Synchronised view</h1>
      <output class="point" id="leader-point">${point.value ? pointText(point.value) : ''}</output>
      <button onClick=${() => point.value && copyPoint(point.value, SPACE)} disabled=${!point.value}>Copy</button>
      <button onClick=${pin} disabled=${!point.value}>Pin</button>
      ${pins.value.map(one => html`<span class="pin" key=${one.name}><button onClick=${() => goTo(one.at)} title=${pointText(one.at)}>${one.name}</button><button class="plain" aria-label="Remove pin ${one.name}" onClick=${() => unpin(one)}>×</button></span>`)}
      <${Layers} look=${look.value} change=${changeLook} />
      <${Adder} />
    </div>
    ${ready && panes.value.length === 0 && html`<div class="alone"><h1>The same place in two to six brains</h1><p>Choose experiments, and planes of the atlas, with <b>add …</b> above, or mark them on the <a href="/">list of experiments</a>. One pane leads; the others show the nearest section to its middle.</p></div>`}
    <div class="panes n${panes.value.length}">${panes.value.map((pane, n) => html`<${PaneView} key=${pane.key} pane=${pane} n=${n} />`)}</div>
    <div class="readout" id="readout" role="status">${read.value ? html`<output class="point" data-p=${read.value.point_um[0].toFixed(1)} data-i=${read.value.point_um[1].toFixed(1)} data-r=${read.value.point_um[2].toFixed(1)}>${pointText(read.value.point_um)}</output>
      <span class="structure">${read.value.structure ? (structures.value ? pathText(structures.value.path(read.value.structure.id)) : read.value.structure.name) : 'outside the brain'}</span>
      <span class="faint">in ${read.value.where}</span>` : html`<span class="faint">Point at a pane to read it. All coordinates are of space ${SPACE}.</span>`}</div>
  <//>`;
}

function Adder() {
  const rest = (all.value ?? []).filter(one => !panes.value.some(pane => pane.id === one.id));
  return html`<select aria-label="Add a pane" value="" onChange=${event => { add(event.target.value); event.target.value = ''; }}>
    <option value="">add …</option>
    <optgroup label="atlas">${PLANES.filter(plane => !panes.value.some(pane => pane.plane === plane)).map(plane => html`<option value="atlas:${plane}">atlas, ${plane}</option>`)}</optgroup>
    <optgroup label="experiments">${rest.slice(0, 500).map(one => html`<option value=${one.id}>${one.gene ?? ''} ${one.id}, ${one.plane_of_section}</option>`)}</optgroup></select>`;
}

const reading = oneAtATime(
  (pane, pixel) => pane.structureAt(pixel),
  (found, pane) => found && (read.value = { ...found, where: `${pane.title.value} ${pane.about.value}` }),
);

function PaneView({ pane, n }) {
  const box = useRef(null);
  const [scale, setScale] = useState(null);
  useEffect(() => {
    pane.stage = new Stage(box.current, {
      taken: () => take(pane),
      moved: view => {
        setScale(pane.stage.image.um / view.scale);
        if (lead.value !== pane) return;
        upp.value = pane.stage.image.um / view.scale;
        glide(pane, view);
        follow(pane);
      },
      pointed: pixel => pixel && pane.place.value && !pane.place.value.message && reading(pane, pixel),
      failed: message => (pane.note.value = String(message ?? 'an image could not be loaded')),
      drawn: view => setScale(pane.stage.image.um / view.scale),
    });
    pane.stage.look = look.value;
    pane.changed = mark;
    (globalThis.ishPanes ??= new Map()).set(pane.key, pane);
    return () => {
      pane.stage.destroy();
      pane.stage = null;
    };
  }, []);
  const there = pane.place.value;
  const leads = lead.value === pane;
  const off = there?.point_um && point.value ? Math.hypot(...there.point_um.map((value, c) => value - point.value[c])) : null;
  return html`<section class="pane ${leads ? 'leads' : ''}" id="pane-${pane.key}" tabindex="0" aria-label="${pane.title.value} ${pane.about.value}${leads ? ', leads' : ''}" onFocus=${() => take(pane)}>
    <header><kbd>${n + 1}</kbd> <b>${pane.id ? html`<a href=${`/experiment/${pane.id}${there?.section_number ? `?s=${there.section_number}` : ''}`}>${pane.title.value}</a>` : html`<a href=${`/atlas?plane=${pane.plane}`}>${pane.title.value}</a>`}</b> <span>${pane.about.value}${there?.section_number !== null && there?.section_number !== undefined ? ` · ${pane.plane ? 'plane' : 'section'} ${there.section_number}` : ''}</span>
      ${leads ? html`<em>leads</em>` : ''}<button class="plain" aria-label="Close ${pane.title.value}" onClick=${() => close(pane)}>×</button></header>
    <div class="stage" ref=${box}></div>
    <i class="crosshair" aria-hidden="true"></i>
    ${pane.note.value && html`<p class="stage-note" role="status">${pane.note.value}</p>`}
    <${ScaleBar} upp=${scale} />
    <footer>${there?.point_um ? html`<output class="point" data-p=${there.point_um[0].toFixed(1)} data-i=${there.point_um[1].toFixed(1)} data-r=${there.point_um[2].toFixed(1)}>${pointText(there.point_um)}</output>
      <span title="distance of this section’s point from the leader’s">${leads || off === null ? '' : `${Math.round(off)} µm away`}</span>
      <span>${pane.plane ? '' : errorText(there.estimated_error_um)}</span>
      ${there.mirrored ? html`<span class="badge" title="this series has only the other hemisphere">mirrored</span>` : ''}` : ''}</footer>
  </section>`;
}
