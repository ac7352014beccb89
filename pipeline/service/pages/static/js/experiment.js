// One experiment: its sections, one of them in depth, its numbers and its grid.
import { html, signal, useEffect, useRef, batch } from './html.js';
import { get, V1 } from './api.js';
import { asked, askedList, askedNumber, put, short } from './address.js';
import { Frame, Failed, GoTo, errorText, say, stageKeys } from './frame.js';
import { Layers, askedLook, lookInAddress } from './layers.js';
import { Stage } from './stage.js';
import { loadOutlines, sectionOutlines } from './outlines.js';
import { loadStructures, colour } from './structures.js';
import { judged, missingWords, reader, samePlace, sectionImage, statusText } from './sections.js';
import { Bars, Quality, tableOf, MEASURES, TABLE_COLUMNS } from './bars.js';
import { Readout, ScaleBar, copyPoint } from './scale.js';
import { Grid } from './grid.js';
import { asAtlas } from './turning.js';

const data = signal(null);
const failure = signal(null);
const section = signal(null);
const look = signal(askedLook());
const read = signal(null);
const upp = signal(null);
const structures = signal(null);
const noStructures = signal(null);
const table = signal(null);
const noTable = signal(null);
const selected = signal(null);
const hovered = signal(null);
const measure = signal(asked('m') in MEASURES ? asked('m') : 'energy');
const point = signal(null);
const turn = signal(asked('t') === '1'); // whether sections are turned and mirrored as the atlas has them
const trouble = signal(null);
const seen = signal(false); // whether the first section is there: what else is asked for waits for it
const rest = signal(false); // whether the numbers are there too: small pictures come last

const MOST_WAIT_MS = 1500;
const AS_SCANNED = { degrees: 0, flipped: false };

let stage = null;
const showRead = found => {
  if (found.section !== section.value) return;
  const kept = read.value && found.values === undefined ? { values: null } : {};
  read.value = { ...read.value, ...kept, ...found };
};
const readAt = reader(showRead);

export function Experiment({ id }) {
  useEffect(() => {
    start(id);
  }, [id]);
  if (failure.value) return html`<${Frame} title="Experiment ${id}" place="experiment"><${Failed} error=${failure.value} /><//>`;
  if (!data.value) return html`<${Frame} title="Experiment ${id}" place="experiment"><p class="empty">Loading …</p><//>`;
  const one = data.value;
  const name = one.gene || 'Gene not given';
  return html`<${Frame} title="${one.gene || 'Experiment'} ${one.id}" place="experiment" keys=${keys}
    tools=${html`<${GoTo} onPoint=${goToPoint} space=${one.reference_space_id} named=${goToNamed} />`}>
    <div class="experiment-head">
      <h1 class=${one.gene ? '' : 'faint'} title=${name}>${name}</h1>
      <span class="about" title=${one.specimen ?? ''}>${one.id} · ${one.plane_of_section}${one.specimen ? ` · ${one.specimen}` : ''} · ${one.hemisphere === 'both' ? 'both hemispheres' : `${one.hemisphere} hemisphere`} · space ${one.reference_space_id}</span>
      <${Notes} notes=${one.notes} />
      <button aria-pressed=${turn.value} title="turn and mirror sections as the atlas has them (t)" onClick=${turnAround}>As in the atlas</button>
      <a class="button" href="/sync?ids=${one.id}">Synchronise …</a>
    </div>
    <${SectionView} />
    <${Filmstrip} />
    <aside class="side" aria-label="Numbers">
      <${Trust} sections=${one.section_images} />
      <${Selected} />
      <${Table} />
      ${seen.value && html`<${Grid} id=${one.id} placed=${isPlaced(one)} structures=${structures.value} selected=${selected.value} point=${point.value} section=${section.value}
        onPoint=${goToPoint} />`}
    </aside>
  <//>`;
}

const isPlaced = one => one.section_images.some(section => section.aligned);

function askTheRest(id) {
  if (seen.value) return;
  seen.value = true;
  setTimeout(() => (rest.value = true), MOST_WAIT_MS);
  if (!data.value.is_run) {
    rest.value = true;
    noTable.value = 'These are grids of the atlas, not a run: there is no structure table. `ish unionize` sums them.';
    return;
  }
  if (!isPlaced(data.value)) {
    rest.value = true;
    noTable.value = 'No section has a place in the reference: there are no numbers by structure. The notes of the run, above, say why.';
    return;
  }
  if (!data.value.has_table) {
    rest.value = true;
    noTable.value = 'The run has no structure table: `ish unionize` on its folder makes one.';
    return;
  }
  get(`/experiments/${id}/unionize`, { columns: TABLE_COLUMNS }).then(columns => (table.value = tableOf(columns)), error => (noTable.value = `No numbers by structure: ${error.message}`))
    .then(() => (rest.value = true));
}

async function start(id) {
  loadStructures().then(found => batch(() => {
    structures.value = found;
    selected.value = found.find(asked('st'))?.id ?? null;
  }), error => (noStructures.value = error.message));
  try {
    data.value = judged(await get(`/experiments/${id}`));
  } catch (error) {
    failure.value = error;
    return;
  }
  setTimeout(() => askTheRest(id), MOST_WAIT_MS);
  const sections = data.value.section_images;
  const at = askedList('at').map(Number);
  point.value = at.length === 3 && at.every(Number.isFinite) ? at : null;
  const number = askedNumber('s');
  const usable = sections.filter(one => one.aligned && one.has_image);
  const middle = usable[usable.length >> 1] ?? sections[sections.length >> 1];
  if (point.value && number === null) {
    const went = await goToPoint(point.value, null, true);
    if (went) return;
  }
  const first = sections.find(one => one.section_number === number) ?? middle;
  if (number !== null && first?.section_number !== number) say(`Section ${number} does not exist; shown is ${first?.section_number}.`, 'error');
  const [x, y, scale] = ['x', 'y', 'upp'].map(askedNumber);
  if (!first) return;
  await open(first, { centre: x !== null && y !== null ? [x, y] : null, upp: scale > 0 ? scale : null });
  stage?.constrain();
}

let serial = 0;
async function open(next, place) {
  const mine = ++serial;
  batch(() => {
    section.value = next;
    read.value = null;
    trouble.value = null;
  });
  put({ s: next.section_number });
  if (!stage) return (waiting = { next, place });
  const lies = await turnOf(next);
  if (mine !== serial) return;
  stage.errorUm = next.estimated_error_um;
  const shown = stage.show(sectionImage(next), { ...place, ...lies });
  if (next.aligned) {
    loadOutlines(sectionOutlines(next)).then(
      async outlines => {
        await shown;
        if (mine !== serial) return;
        stage.setOutlines(outlines);
        mark();
      },
      error => mine === serial && (trouble.value = `Outlines: ${error.message}`),
    );
  }
  await shown;
  mark();
}
let waiting = null;

async function turnOf(one) {
  if (!turn.value || !one.aligned) return AS_SCANNED;
  try {
    const { place } = await get(`/sections/${one.id}/places`, { x: one.width_px / 2, y: one.height_px / 2 });
    return asAtlas(data.value.plane_of_section, place.axes_um);
  } catch (error) {
    say(error.message, 'error');
    return AS_SCANNED;
  }
}

async function turnAround() {
  turn.value = !turn.value;
  put({ t: turn.value ? 1 : null });
  const mine = serial;
  if (!section.value || !stage) return;
  const lies = await turnOf(section.value);
  if (mine === serial) stage.goTo(lies);
}

async function step(by) {
  const sections = data.value.section_images;
  const at = sections.indexOf(section.value);
  const next = sections[Math.max(0, Math.min(sections.length - 1, at + by))];
  if (next && next !== section.value) choose(next);
}

async function choose(next) {
  const mine = ++serial;
  const view = stage?.view(false);
  const old = section.value;
  section.value = next; // the filmstrip answers at once, the stage follows
  const centre = view ? await samePlace(old, next, view.centre) : null;
  if (mine !== serial) return;
  open(next, centre && stage.upp() ? { centre, upp: stage.upp() } : null);
}

// Goes to the section that is nearest to a point of the reference.
async function goToPoint(found, structureId = null, keepScale = true) {
  try {
    const [place] = await get('/places', {
      p: found[0], i: found[1], r: found[2], experiments: data.value.id, reference_space_id: data.value.reference_space_id,
    });
    if (place.message) throw new Error(place.message);
    point.value = found;
    put({ at: found.map(value => short(value)) });
    if (structureId) select(structureId, false);
    const next = data.value.section_images.find(one => one.id === place.section_image_id);
    const scale = (keepScale && (stage?.upp() ?? askedNumber('upp'))) || next.resolution_um * 2;
    if (next === section.value && stage?.image?.id === next.id) {
      stage.goTo({ centre: [place.x, place.y], upp: scale });
      mark();
    } else await open(next, { centre: [place.x, place.y], upp: scale });
    return true;
  } catch (error) {
    say(error.message, 'error');
    return false;
  }
}

// Shows the point on the section that it was taken from or is nearest to.
async function mark() {
  if (!stage) return;
  if (!point.value || !section.value?.aligned) return stage.setMarks([]);
  const { id, reference_space_id: space } = data.value;
  const [p, i, r] = point.value;
  const [place] = await get('/places', { p, i, r, experiments: id, reference_space_id: space }).catch(() => [{}]);
  const here = place?.section_image_id === section.value?.id;
  stage.setMarks(here ? [{ pixel: [place.x, place.y], kind: 'cross' }] : []);
}

function select(id, goes = true) {
  selected.value = id;
  put({ st: id ? structures.value?.byId.get(id)?.acronym ?? id : null });
  if (!id || !goes || !structures.value || !stage?.outlines) return;
  const here = [...stage.outlines.ids].some(part => structures.value.within(part, id));
  if (!here) goToStructure(id);
}

async function goToStructure(id) {
  try {
    const answer = await (await fetch(`/api/v2/structure_to_image/${data.value.id}.json?structure_ids=${id}`)).json();
    if (!answer.success) throw new Error(answer.msg);
    const { image_sync: found } = answer.msg[0];
    const next = data.value.section_images.find(one => one.id === found.section_image_id);
    const place = { centre: [found.x, found.y], upp: stage?.upp() };
    if (next === section.value) stage.goTo(place);
    else open(next, place);
  } catch (error) {
    say(error.message, 'error');
  }
}

function goToNamed(text) {
  const one = structures.value?.find(text) ?? structures.value?.search(text, 1)[0];
  if (!one) return false;
  select(one.id, false);
  goToStructure(one.id);
  return true;
}

function changeLook(changes) {
  look.value = { ...look.value, ...changes };
  put(lookInAddress(look.value));
}

const keys = [
  ['ArrowLeft', 'section before', () => step(-1)],
  ['ArrowRight', 'section after', () => step(1)],
  ...stageKeys(() => stage, 'whole section'),
  ['p', 'photo', () => changeLook({ photo: !look.value.photo })],
  ['m', 'mask', () => changeLook({ mask: !look.value.mask })],
  ['o', 'outlines', () => changeLook({ outlines: !look.value.outlines })],
  ['e', 'estimated error: bands of ± its size along outlines', () => changeLook({ error: !look.value.error })],
  ['[', 'lower threshold of the mask', () => changeLook({ threshold: Math.max(1, look.value.threshold - 8) })],
  [']', 'higher threshold of the mask', () => changeLook({ threshold: Math.min(255, look.value.threshold + 8) })],
  ['t', 'turn and mirror sections as the atlas has them, or as they were scanned', turnAround],
  ['c', 'copy the coordinates under the cursor, or of the middle', copyHere],
  ['r', 'read the middle of the view', readMiddle],
  ['Enter', 'select the structure that was read', () => read.value?.structure && select(read.value.structure.id, false)],
  ['s', 'search a structure', () => document.getElementById('structure-search')?.focus()],
  ['3', 'spheres', () => document.querySelector('.spheres canvas')?.focus()],
];

function readMiddle() {
  const view = stage?.view();
  if (view) readAt(section.value, view.centre);
}

async function copyHere() {
  if (!read.value?.point_um) readMiddle();
  for (let n = 0; n < 20 && !read.value?.point_um; n++) await new Promise(resolve => setTimeout(resolve, 50));
  if (read.value?.point_um) copyPoint(read.value.point_um, data.value.reference_space_id);
  else say('There are no coordinates here: this section has no place in the reference.', 'error');
}

function SectionView() {
  const place = useRef(null);
  useEffect(() => {
    stage = new Stage(place.current, {
      moved: view => {
        upp.value = stage.image.um / view.scale;
        const target = stage.view(false);
        put({ x: short(target.centre[0]), y: short(target.centre[1]), upp: short(stage.image.um / target.scale, 3) });
      },
      pointed: pixel => {
        if (!pixel || !section.value) {
          hovered.value = null;
          return;
        }
        hovered.value = stage.outlines?.at(pixel) || null;
        readAt(section.value, pixel);
      },
      clicked: async pixel => {
        const id = stage.outlines?.at(pixel) || null;
        select(id === selected.value ? null : id, false);
        if (!section.value.aligned) return;
        const found = await get(`/sections/${section.value.id}/structure_at`, { x: pixel[0], y: pixel[1] }).catch(() => null);
        if (found) {
          point.value = found.point_um;
          put({ at: found.point_um.map(value => short(value)) });
          mark();
        }
      },
      loaded: () => askTheRest(data.value.id),
      failed: message => (trouble.value = String(message ?? 'an image could not be loaded')),
    });
    stage.look = look.value;
    globalThis.ishStage = stage; // for tests and for the curious
    stage.ready.then(() => {
      if (waiting) open(waiting.next, waiting.place).then(() => stage.constrain());
      waiting = null;
    });
    return () => stage.destroy();
  }, []);
  useEffect(() => {
    if (!stage) return;
    stage.setLook(look.value);
  }, [look.value]);
  useEffect(() => {
    if (!stage) return;
    const known = structures.value;
    stage.setFilled(id => {
      if (known && selected.value && known.within(id, selected.value)) return 'rgba(255, 205, 0, 0.30)';
      return null;
    });
  }, [structures.value, selected.value]);
  useEffect(() => {
    const known = structures.value;
    const here = hovered.value;
    stage?.setHovered(id => (here && (id === here || known?.within(id, here)) ? 'rgba(40, 130, 220, 0.22)' : null));
  }, [structures.value, hovered.value]);
  const missing = section.value ? missingWords(section.value) : {};
  return html`<section class="stage-box" aria-label="Section ${section.value?.section_number ?? ''}">
    <${Layers} look=${look.value} change=${changeLook} missing=${missing} />
    <div class="stage" ref=${place} role="img" aria-label="Section image; keys zoom, pan and read"></div>
    ${(trouble.value || missing.photo || missing.note) && html`<p class="stage-note" role="status">${[missing.photo ?? missing.note, trouble.value].filter(Boolean).join(' · ')}</p>`}
    ${(!missing.photo || !missing.outlines) && html`<${ScaleBar} upp=${upp.value} />`}
    <${Readout} read=${read.value} structures=${structures.value} errorUm=${section.value?.estimated_error_um} />
  </section>`;
}

function Filmstrip() {
  const list = useRef(null);
  const sections = data.value.section_images;
  const now = section.value;
  useEffect(() => {
    list.current?.querySelector('[aria-current=true]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  }, [now]);
  return html`<nav class="filmstrip" aria-label="Sections"><div class="frames" ref=${list}>
    ${sections.map(one => html`<button key=${one.id} class="frame ${one.status}" aria-current=${one === now} title=${`section ${one.section_number}: ${statusText(one.status)}, ${errorText(one.estimated_error_um)}${one.flags.length ? `\n${one.flags.join('\n')}` : ''}`}
      onClick=${() => choose(one)}>
      ${!rest.value ? html`<span class="no-thumb"></span>` : one.has_thumbnail || (one.has_image && one.status !== 'fail') ? html`<img loading="lazy" alt="" src=${one.has_thumbnail ? `${V1}/sections/${one.id}/thumbnail?size=128` : `/iiif/3/${one.id}/full/!128,96/0/default.jpg`} onError=${event => (event.target.style.visibility = 'hidden')} />` : html`<span class="no-thumb">no image</span>`}
      <span>${one.section_number}${['pass', 'unknown'].includes(one.status) ? '' : ` ${one.status}`}</span></button>`)}</div>
    ${now && html`<p class="reason" title=${now.flags.join('\n')}><b class="status ${now.status}">${statusText(now.status)}</b> section ${now.section_number}, ${sections.indexOf(now) + 1} of ${sections.length} · ${errorText(now.estimated_error_um)}${now.flags.length ? ` · ${now.flags.join(' · ')}` : ''}</p>`}
  </nav>`;
}

function Notes({ notes }) {
  if (!notes.length) return null;
  return html`<details class="notes"><summary>${notes.length} note${notes.length > 1 ? 's' : ''} of the run</summary><ul>${notes.map(note => html`<li>${note}</li>`)}</ul></details>`;
}

// How far the numbers below can be believed, in one line above them.
function Trust({ sections }) {
  const counts = {};
  for (const { status } of sections) counts[status] = (counts[status] ?? 0) + 1;
  const errors = sections.map(one => one.estimated_error_um).filter(um => um !== null).sort((a, b) => a - b);
  const said = errors.length ? `± ${Math.round(errors[errors.length >> 1])} µm, at worst ± ${Math.round(errors.at(-1))} µm` : errorText(null);
  return html`<div class="trust"><${Quality} sections=${counts} total=${sections.length} />
<span title="estimated error of the places of sections: median and largest"> · ${said}</span></div>`;
}

function Selected() {
  const one = selected.value && structures.value?.byId.get(selected.value);
  if (!one) return null;
  return html`<div class="selected"><i class="chip" style=${`background:${colour(one)}`}></i><span><b>${one.acronym}</b> ${one.name}</span>
    <button onClick=${() => goToStructure(one.id)}>Go to its section</button>
    <button class="plain" aria-label="Deselect" onClick=${() => select(null)}>×</button></div>`;
}

function Table() {
  if (noStructures.value || noTable.value) return html`<p class="notice">${noStructures.value ?? noTable.value}</p>`;
  if (!structures.value || !table.value) return html`<p class="empty">Loading structures …</p>`;
  return html`<${Bars} structures=${structures.value} table=${table.value} selected=${selected.value} hovered=${hovered.value}
    onSelect=${id => select(id)} onHover=${id => (hovered.value = id)} measure=${measure.value}
    onMeasure=${name => { measure.value = name; put({ m: name === 'energy' ? null : name }); }} />`;
}
