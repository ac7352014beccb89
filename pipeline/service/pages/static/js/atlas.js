// The atlas: planes of three axes, and the tree of structures with search.
import { html, signal, useEffect, useMemo, useRef, useState } from './html.js';
import { address, get, oneAtATime, V1 } from './api.js';
import { asked, askedNumber, put, short } from './address.js';
import { Frame, Failed, GoTo, pointText, say, stageKeys } from './frame.js';
import { Stage } from './stage.js';
import { loadOutlines, plateOutlines } from './outlines.js';
import { loadStructures, colour } from './structures.js';
import { AtlasPane, SPACE } from './panes.js';
import { ScaleBar, copyPoint, pathText } from './scale.js';

const PLANES = ['coronal', 'sagittal', 'horizontal'];
const NORMAL = { coronal: 0, sagittal: 2, horizontal: 1 };
const KINDS = { template: 'template', annotation: 'structures', none: 'outlines only' };

const plane = signal(PLANES.includes(asked('plane')) ? asked('plane') : 'coronal');
const at = signal(null);
const kind = signal(asked('kind') in KINDS ? asked('kind') : 'annotation');
const outlined = signal(asked('o') !== '0');
const structures = signal(null);
const failure = signal(null);
const selected = signal(null);
const hovered = signal(null);
const read = signal(null);
const upp = signal(null);
const trouble = signal(null);

const panes = Object.fromEntries(PLANES.map(name => [name, null]));
let stage = null;
const pane = () => panes[plane.value];

async function open(place = null) {
  panes[plane.value] ??= new AtlasPane(plane.value);
  const mine = pane();
  const plates = await mine.asked;
  if (!plates) return (failure.value = new Error(mine.note.value));
  if (mine !== pane()) return;
  at.value ??= (plates.first_um + plates.last_um) / 2;
  const [low, high] = [plates.first_um, plates.last_um];
  if (at.value < low || at.value > high) say(`${'PIR'[NORMAL[plane.value]]} ${at.value} µm: the brain lies between ${low} and ${high} µm`, 'error');
  const number = Math.round(Math.max(low, Math.min(high, at.value)) / plates.spacing_um);
  at.value = number * plates.spacing_um;
  put({ plane: plane.value, at: short(at.value), kind: kind.value === 'annotation' ? null : kind.value });
  mine.place.value = { section_number: number };
  const { image } = mine.imageOf(mine.place.value);
  const { um } = image;
  const view = stage.view(false);
  const kept = place ?? (view && stage.image?.id === image.id ? { centre: view.centre, upp: stage.upp() } : null);
  const url = address(`${V1}/plates/${plane.value}/picture`, { at_um: at.value, downsample: Math.max(0, Math.log2(plates.zoom) - 2), annotation: kind.value === 'annotation' });
  const tiles = kind.value === 'none' || (kind.value === 'template' && !plates.has_template) ? null : { type: 'image', url, buildPyramid: false };
  trouble.value = kind.value === 'template' && !plates.has_template ? 'This reference has no template; outlines are shown.' : null;
  const position = at.value;
  const shown = stage.show({ ...image, um, tiles }, kept);
  loadOutlines(plateOutlines(plane.value, position)).then(
    async found => (await shown) && position === at.value && stage.setOutlines(found),
    error => (trouble.value = error.message),
  );
  return shown;
}

function step(by) {
  const plates = pane()?.plates;
  if (!plates) return;
  at.value = Math.max(plates.first_um, Math.min(plates.last_um, at.value + by * plates.spacing_um));
  open();
}

function turnTo(name) {
  if (name === plane.value) return;
  const point = read.value?.point_um;
  plane.value = name;
  at.value = point ? point[NORMAL[name]] : null;
  put({ x: null, y: null, upp: null });
  open();
}

async function goTo(point) {
  panes[plane.value] ??= new AtlasPane(plane.value);
  await pane().asked;
  const place = pane().placeOf(point);
  at.value = point[NORMAL[plane.value]];
  await open({ centre: [place.x, place.y], upp: stage.upp() ?? undefined });
  stage.setMarks([{ pixel: [place.x, place.y], kind: 'cross' }]);
}

// The plane on which a structure is cut through its centre.
async function select(id, goes = true) {
  selected.value = id;
  put({ st: id ? structures.value.byId.get(id).acronym : null });
  if (!id || !goes) return;
  const here = stage.outlines && [...stage.outlines.ids].some(part => structures.value.within(part, id));
  if (here) return;
  try {
    const { point_um: point } = await get('/structure_centre', { structure: id });
    at.value = point[NORMAL[plane.value]];
    open();
  } catch (error) {
    say(error.message, 'error');
  }
}

const reading = oneAtATime(
  pixel => pane().structureAt(pixel),
  found => (read.value = found),
);

const keys = [
  ['ArrowLeft', 'plane before', () => step(-1)],
  ['ArrowRight', 'plane after', () => step(1)],
  ...stageKeys(() => stage, 'whole plane'),
  ['1', 'coronal', () => turnTo('coronal')],
  ['2', 'sagittal', () => turnTo('sagittal')],
  ['3', 'horizontal', () => turnTo('horizontal')],
  ['o', 'outlines', () => (outlined.value = !outlined.value)],
  ['t', 'template or structures', () => show(kind.value === 'template' ? 'annotation' : 'template')],
  ['r', 'read the middle of the view', () => stage?.view() && reading(stage.view().centre)],
  ['c', 'copy the coordinates that were read', () => read.value && copyPoint(read.value.point_um, SPACE)],
  ['s /', 'search a structure', () => document.getElementById('structure-search')?.focus()],
];

function show(next) {
  kind.value = next;
  open();
}

export function Atlas() {
  const box = useRef(null);
  useEffect(() => {
    stage = new Stage(box.current, {
      moved: view => {
        upp.value = stage.image.um / view.scale;
        const target = stage.view(false);
        put({ x: short(target.centre[0]), y: short(target.centre[1]), upp: short(stage.image.um / target.scale, 3) });
      },
      drawn: view => (upp.value = stage.image.um / view.scale),
      pointed: pixel => {
        hovered.value = (pixel && stage.outlines?.at(pixel)) || null;
        if (pixel && pane()?.place.value) reading(pixel);
      },
      clicked: pixel => {
        const id = stage.outlines?.at(pixel) || null;
        select(id === selected.value ? null : id, false);
      },
    });
    globalThis.ishStage = stage;
    at.value = askedNumber('at');
    if (asked('plane') && !PLANES.includes(asked('plane'))) say(`“${asked('plane')}”: expected a plane among ${PLANES.join(', ')}; shown is ${plane.value}`, 'error');
    const [x, y, scale] = ['x', 'y', 'upp'].map(askedNumber);
    stage.ready.then(() => open(x !== null && y !== null ? { centre: [x, y], upp: scale > 0 ? scale : null } : null)).then(() => stage.constrain());
    loadStructures().then(found => {
      structures.value = found;
      selected.value = found.find(asked('st'))?.id ?? null;
    }, error => (failure.value = error));
    return () => stage.destroy();
  }, []);
  useEffect(() => {
    stage?.setLook({ outlines: outlined.value, photo: kind.value !== 'none' });
    put({ o: outlined.value ? null : 0 });
  }, [outlined.value, kind.value]);
  useEffect(() => {
    const known = structures.value;
    stage?.setFilled(id => {
      if (known && selected.value && known.within(id, selected.value)) return kind.value === 'annotation' ? 'rgba(20, 20, 20, 0.55)' : 'rgba(255, 205, 0, 0.40)';
      return null;
    });
  }, [structures.value, selected.value, kind.value]);
  useEffect(() => {
    const here = hovered.value;
    stage?.setHovered(id => (id === here ? 'rgba(255, 255, 255, 0.35)' : null));
  }, [hovered.value]);
  if (failure.value) return html`<${Frame} title="Atlas" place="atlas"><${Failed} error=${failure.value} /><div hidden ref=${box}></div><//>`;
  const plates = pane()?.plates;
  const path = read.value?.structure && structures.value ? structures.value.path(read.value.structure.id) : [];
  return html`<${Frame} title="Atlas" place="atlas" keys=${keys} tools=${html`<${GoTo} onPoint=${goTo} space=${SPACE} />`}>
    <section class="stage-box" aria-label="Plane of the atlas">
      <div class="layers">
        <h1 class="hidden">Atlas</h1>
        <div role="tablist" class="tabs" aria-label="Axis">${PLANES.map(name => html`<button role="tab" aria-selected=${plane.value === name} onClick=${() => turnTo(name)}>${name}</button>`)}</div>
        <select aria-label="What is shown" value=${kind.value} onChange=${event => show(event.target.value)}>${Object.entries(KINDS).map(([name, label]) => html`<option value=${name}>${label}</option>`)}</select>
        <label><input type="checkbox" checked=${outlined.value} onChange=${() => (outlined.value = !outlined.value)} /> outlines <kbd>o</kbd></label>
        ${plates && html`<label class="grow">${'PIR'[NORMAL[plane.value]]} <input type="range" aria-label="Position, µm" min=${plates.first_um} max=${plates.last_um} step=${plates.spacing_um} value=${at.value}
          onInput=${event => { at.value = Number(event.target.value); open(); }} /> <output>${at.value} µm</output></label>`}
        ${at.value !== null && html`<a class="button" download="${plane.value}_${at.value}um.svg" href=${plateOutlines(plane.value, at.value)}>SVG</a>`}
      </div>
      <div class="stage light" ref=${box} role="img" aria-label="Plane of the atlas"></div>
      ${trouble.value && html`<p class="stage-note" role="status">${trouble.value}</p>`}
      <${ScaleBar} upp=${upp.value} />
      <div class="readout" id="readout">${read.value ? html`<output class="point" data-p=${read.value.point_um[0].toFixed(1)} data-i=${read.value.point_um[1].toFixed(1)} data-r=${read.value.point_um[2].toFixed(1)}>${pointText(read.value.point_um)}</output>
        <span class="structure" data-id=${read.value.structure?.id ?? 0}>${path.length ? pathText(path) : 'outside the brain'}</span>` : html`<span class="faint">Point at the plane to read it.</span>`}</div>
    </section>
    <aside class="side" aria-label="Structures">${structures.value ? html`<${Tree} />` : html`<p class="empty">Loading structures …</p>`}</aside>
  <//>`;
}

function Tree() {
  const known = structures.value;
  const [text, setText] = useState('');
  const [open_, setOpen] = useState(() => new Set(known.roots.flatMap(root => [root.id, ...(known.children.get(root.id) ?? []).map(one => one.id)])));
  const list = useRef(null);
  useEffect(() => {
    if (!selected.value) return;
    const path = known.path(selected.value).slice(0, -1).map(one => one.id);
    setOpen(before => new Set([...before, ...path]));
    requestAnimationFrame(() => list.current?.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest' }));
  }, [selected.value]);
  const rows = useMemo(() => {
    if (text) return known.search(text, 200).map(one => [one, 0]);
    const found = [];
    const walk = (one, depth) => {
      found.push([one, depth]);
      if (open_.has(one.id)) for (const child of known.children.get(one.id) ?? []) walk(child, depth + 1);
    };
    known.roots.forEach(one => walk(one, 0));
    return found;
  }, [text, open_]);
  const flip = id => {
    const next = new Set(open_);
    if (!next.delete(id)) next.add(id);
    setOpen(next);
  };
  const key = (event, n) => {
    const [one] = rows[n];
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move) list.current.querySelectorAll('[role=treeitem]')[n + move]?.focus();
    else if (event.key === 'Enter' || event.key === ' ') select(one.id === selected.value ? null : one.id);
    else if ((event.key === 'ArrowRight' || event.key === 'ArrowLeft') && known.children.has(one.id)) {
      if (open_.has(one.id) === (event.key === 'ArrowLeft')) flip(one.id);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<div class="row tools"><input type="search" id="structure-search" placeholder="Structure …  (s)" aria-label="Search structures" value=${text} onInput=${event => setText(event.target.value)}
      onKeyDown=${event => { if (event.key === 'Enter' && rows.length) select(rows[0][0].id); if (event.key === 'Escape') { setText(''); event.target.blur(); } }} /></div>
    <div class="list tree" role="tree" aria-label="Structures" ref=${list}>${rows.length ? rows.map(([one, depth], n) => html`<div key=${one.id} role="treeitem" tabindex="0" aria-level=${depth + 1} aria-selected=${one.id === selected.value} aria-expanded=${known.children.has(one.id) ? open_.has(one.id) : undefined}
        class="tree-row ${one.id === hovered.value ? 'hovered' : ''}" style=${`padding-left:${Math.min(depth, 10) * 13 + 4}px`} onClick=${() => select(one.id === selected.value ? null : one.id)} onKeyDown=${event => key(event, n)}>
        ${known.children.has(one.id) && !text ? html`<button class="twist" tabindex="-1" aria-label="parts of ${one.acronym}" onClick=${event => { event.stopPropagation(); flip(one.id); }}>${open_.has(one.id) ? '▾' : '▸'}</button>` : html`<span class="twist"></span>`}
        <i class="chip" style=${`background:${colour(one)}`}></i><b>${one.acronym}</b> ${one.name}</div>`) : html`<p class="empty">No structure fits “${text}”.</p>`}</div>`;
}
