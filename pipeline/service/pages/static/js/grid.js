// The grid of an experiment: three maximum projections, and spheres that can be turned, cut and picked.
import { html, useEffect, useRef, useState } from './html.js';
import { address, getAnswer, getBytes, get, V1 } from './api.js';
import { asked, askedList, askedNumber, put, short } from './address.js';
import { pointText, say } from './frame.js';
import { Spheres } from './spheres.js';
import { GRID_SHAPE, GRID_UM, boxOf, gridShape } from './space.js';
import { MAP_NAMES, gradient } from './colours.js';
import { lettersOf } from './hull.js';
import { valueText } from './bars.js';

const VIEWS = { coronal: [1, 2], sagittal: [1, 0], horizontal: [0, 2] }; // axes down and right
const AXES = ['P', 'I', 'R'];
const APART_PX = 22; // letters of one axis that are nearer to each other are hidden: the axis points at us
const TURNS = { left: [0, 0], front: [-90, 0], top: [90, 90], oblique: [35, 20] };

export function Grid({ id, placed, structures, selected, point, section, onPoint }) {
  const [shown, setShown] = useState(asked('g') === 'projections' ? 'projections' : 'spheres');
  const tab = (name, label) => html`<button role="tab" aria-selected=${shown === name} onClick=${() => { setShown(name); put({ g: name === 'spheres' ? null : name }); }}>${label}</button>`;
  return html`<section class="grid" aria-label="Grid">
    <div role="tablist" class="tabs">${tab('spheres', '3-D')}${tab('projections', 'Projections')}</div>
    ${!placed ? html`<p class="notice">No section has a place in the reference: there is no grid.</p>` : shown === 'spheres' ? html`<${SphereView} ...${{ id, structures, selected, point, section, onPoint }} />` : html`<${Projections} ...${{ id, point, onPoint }} />`}
  </section>`;
}

const pictureOf = (id, view, more) => address(`${V1}/experiments/${id}/projection`, { view, ...more });

// The end of a scale that all three projections share.
async function highestOf(id) {
  const answers = await Promise.all(Object.keys(VIEWS).map(view => fetch(pictureOf(id, view))));
  if (!answers.every(one => one.ok)) throw new Error((await answers[0].json()).msg);
  return { highest: Math.max(...answers.map(one => Number(one.headers.get('X-Highest')))), shape: gridShape(answers[0]) };
}

function Projections({ id, point, onPoint }) {
  const [wrong, setWrong] = useState(null);
  const [known, setKnown] = useState(null);
  useEffect(() => {
    highestOf(id).then(setKnown, error => setWrong(error.message));
  }, [id]);
  if (wrong) return html`<p class="notice">${wrong}</p>`;
  if (known === null) return html`<p class="empty">Loading …</p>`;
  const { highest, shape } = known;
  const middle = boxOf(shape).map(side => side / 2);
  const picked = (event, down, right) => {
    const box = event.currentTarget.getBoundingClientRect();
    const found = [...(point ?? middle)];
    found[right] = (((event.clientX - box.left) / box.width) * shape[right] - 0.5) * GRID_UM;
    found[down] = (((event.clientY - box.top) / box.height) * shape[down] - 0.5) * GRID_UM;
    onPoint(found);
  };
  return html`<div class="projections">${Object.entries(VIEWS).map(([view, [down, right]]) => {
    const at = axis => `${(((point?.[axis] ?? 0) / GRID_UM + 0.5) / shape[axis]) * 100}%`;
    const end = (axis, n) => ['AP', 'DV', 'LR'][axis][n];
    return html`<figure key=${view} class=${view}><div class="picture" style=${`aspect-ratio:${shape[right]}/${shape[down]}`} onClick=${event => picked(event, down, right)}>
      <img alt="Largest energy, ${view}" src=${pictureOf(id, view, { zoom: 4, highest })} />
      ${point && html`<i class="across" style=${`top:${at(down)}`}></i><i class="down" style=${`left:${at(right)}`}></i>`}
      <b class="n">${end(down, 0)}</b><b class="s">${end(down, 1)}</b><b class="w">${end(right, 0)}</b><b class="e">${end(right, 1)}</b>
      </div><figcaption>${view}</figcaption></figure>`;
  })}<div class="faint"><span class="legend magma" role="img" aria-label="energy from 0 to ${valueText(highest)}"><i>0</i><i>${valueText(highest)}</i></span>
    <p>Largest energy along each axis. Black: none, or no data. Click to go there.</p></div></div>`;
}

function SphereView({ id, structures, selected, point, section, onPoint }) {
  const canvas = useRef(null);
  const view = useRef(null);
  const [why, setWhy] = useState(null);
  const [flat, setFlat] = useState(false);
  const letters = useRef(null);
  const [count, setCount] = useState(null);
  const [picked, setPicked] = useState(null);
  const [map, setMap] = useState(asked('map3') in MAP_NAMES ? asked('map3') : 'original');
  const [cut, setCut] = useState(askedCut);
  const [box, setBox] = useState(boxOf(GRID_SHAPE));
  const [least, setLeast] = useState(askedNumber('ge'));
  useEffect(() => {
    let spheres;
    try {
      spheres = new Spheres(canvas.current, {
        picked: setPicked,
        drawn: () => placeLetters(spheres, letters.current?.childNodes ?? []),
        turned: ({ yaw, pitch, zoom }) => put({ v: [short(yaw, 0), short(pitch, 0), short(zoom, 2)] }),
      });
    } catch (error) {
      setWhy(error.message);
      setFlat(true);
      return undefined;
    }
    view.current = spheres;
    globalThis.ishSpheres = spheres;
    const [yaw, pitch, zoom] = askedList('v').map(Number);
    if (Number.isFinite(yaw) && Number.isFinite(pitch)) spheres.set({ yaw, pitch, zoom: zoom || 1 });
    getAnswer(`/experiments/${id}/spheres`, { form: 'binary', structures: true }).then(
      async answer => {
        spheres.box = boxOf(gridShape(answer));
        spheres.setData(new Float32Array(await answer.arrayBuffer()));
        setBox(spheres.box);
        setCount(spheres.count);
      },
      error => setWhy(error.message),
    );
    getBytes('/hull').then(bytes => { spheres.hull.setData(new Float32Array(bytes)); spheres.draw(); }, () => {});
    const sized = new ResizeObserver(() => spheres.draw());
    sized.observe(canvas.current);
    return () => {
      sized.disconnect();
      spheres.forget();
    };
  }, [id]);
  useEffect(() => {
    if (!view.current) return;
    view.current.map = map;
    view.current.recolour();
  }, [map, count]);
  useEffect(() => {
    if (!view.current) return;
    const [axis, low, high] = cut;
    view.current.cut = { low: [0, 0, 0], high: [...box] };
    view.current.cut.low[axis] = low;
    view.current.cut.high[axis] = high ?? box[axis];
    view.current.draw();
    const whole = low === 0 && (high ?? box[axis]) >= box[axis];
    put({ cut: whole ? null : [AXES[axis], low, high ?? box[axis]] });
  }, [cut, box]);
  useEffect(() => {
    if (!view.current || !count) return;
    if (least !== null) view.current.least = least;
    view.current.draw();
    put({ ge: least });
  }, [least, count]);
  useEffect(() => {
    if (!view.current || !count) return;
    view.current.emphasise(selected && structures ? order => structures.within(structures.byOrder.get(order)?.id, selected) : null);
  }, [selected, structures, count]);
  useEffect(() => {
    if (!view.current) return;
    view.current.point = point;
    view.current.draw();
  }, [point]);
  useEffect(() => {
    if (!view.current || !section) return;
    view.current.plane = null;
    view.current.draw();
    if (section.aligned) frameOf(section).then(lines => { view.current.plane = lines; view.current.draw(); }, () => {});
  }, [section]);
  const key = event => {
    const turn = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] }[event.key];
    if (turn && !event.shiftKey) view.current?.rotate(...turn);
    else if (event.key === '+' || event.key === '=') view.current?.zoomBy(1.2);
    else if (event.key === '-') view.current?.zoomBy(1 / 1.2);
    else if (event.key === 'Enter') setPicked(view.current?.pick(canvas.current.clientWidth / 2, canvas.current.clientHeight / 2) ?? view.current?.strongest());
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  if (why) return html`<p class="notice">${why}</p>${flat && html`<${Projections} ...${{ id, point, onPoint }} />`}<canvas hidden ref=${canvas}></canvas>`;
  const [axis, low] = cut;
  const high = cut[2] ?? box[axis];
  const structure = picked && structures?.byOrder.get(picked.order);
  const strongest = count ? view.current.strongest() : null;
  return html`<div class="spheres">
    <div class="globe"><canvas ref=${canvas} tabindex="0" role="img" aria-label="Spheres of the grid: arrows turn, plus and minus zoom, Enter picks" onKeyDown=${key}></canvas>
      <div class="letters" aria-hidden="true" title="anterior, posterior, dorsal, ventral, left, right" ref=${letters}>${lettersOf(box).map(({ letter }) => html`<b>${letter}</b>`)}</div></div>
    ${count > 0 && html`<div class="meaning">colour: ${view.current.colouredBy} <span class="legend" role="img" aria-label="from low to high" style=${`background:${gradient(map)}`}><i>0</i><i>${valueText(view.current.colouredBy === 'intensity' ? view.current.brightest : view.current.top)}</i></span><br />diameter: energy, full at ${valueText(view.current.top)}</div>`}
    <div class="row tools">
      ${Object.entries(TURNS).map(([name, [yaw, pitch]]) => html`<button onClick=${() => { view.current.set({ yaw, pitch }); view.current.hooks.turned(view.current.turn); }}>${name}</button>`)}
      <select aria-label="Colours of the spheres" value=${map} onChange=${event => { setMap(event.target.value); put({ map3: event.target.value === 'original' ? null : event.target.value }); }}>
        ${Object.entries(MAP_NAMES).map(([name, label]) => html`<option value=${name}>${label}</option>`)}</select>
    </div>
    <div class="row tools cut"><label title="least energy that is shown">energy ≥ <output>${valueText(least ?? view.current?.least ?? 0)}</output></label>
      <input type="range" aria-label="least energy" min="0" max=${count ? view.current.top : 1} step=${count ? view.current.top / 100 : 0.01} value=${least ?? view.current?.least ?? 0}
        onInput=${event => setLeast(short(Number(event.target.value), 2))} />
      <label>cut <select aria-label="Axis of the cut" value=${axis} onChange=${event => { const next = Number(event.target.value); setCut([next, 0, null]); }}>${AXES.map((name, n) => html`<option value=${n}>${name}</option>`)}</select></label>
      <input type="range" aria-label="cut from, µm" title="cut from ${low} µm" min="0" max=${box[axis]} step="200" value=${low} onInput=${event => setCut([axis, Math.min(Number(event.target.value), high), high])} />
      <input type="range" aria-label="cut to, µm" title="cut to ${high} µm" min="0" max=${box[axis]} step="200" value=${high} onInput=${event => setCut([axis, low, Math.max(Number(event.target.value), low)])} />
      <output>${(low / 1000).toFixed(1)}–${(high / 1000).toFixed(1)} mm</output></div>
    <p class="picked" role="status">${picked ? html`${structure ? html`<b>${structure.acronym}</b> ` : ''}energy ${valueText(picked.energy)}, intensity ${valueText(picked.intensity)} at ${pointText(picked.point)}
        <button onClick=${() => onPoint(picked.point, structure?.id)}>Go there</button>`
      : strongest ? html`<span class="strongest" data-energy=${strongest.energy}>${view.current.shown()} of ${count} voxels${view.current.colouredBy === 'energy' ? '; no grid of intensity' : ''}; largest ${valueText(strongest.energy)}${selected && structures ? `; drawn: ${structures.byId.get(selected)?.acronym} only` : ''}</span> <button onClick=${() => setPicked(strongest)}>Pick it</button>`
      : count === 0 ? 'No voxel of the grid expresses.' : 'Loading …'}</p>
  </div>`;
}

function askedCut() {
  const [name, low, high] = askedList('cut');
  const axis = AXES.indexOf(name);
  return axis < 0 ? [0, 0, null] : [axis, Number(low) || 0, Number(high) || null]; // null: the end of the box
}

function placeLetters(spheres, nodes) {
  const places = lettersOf(spheres.box).map(({ at }) => spheres.project(at));
  nodes.forEach((node, n) => {
    const [here, other] = [places[n], places[n ^ 1]]; // letters of one axis follow each other
    node.style.transform = `translate(${here.x.toFixed(1)}px, ${here.y.toFixed(1)}px) translate(-50%, -50%)`;
    node.style.visibility = Math.hypot(here.x - other.x, here.y - other.y) < APART_PX ? 'hidden' : '';
  });
}

// The edges of a section in the reference, as lines.
async function frameOf(section) {
  const [w, h] = [section.width_px, section.height_px];
  const body = JSON.stringify({ points: [[0, 0], [w, 0], [w, h], [0, h]] });
  const answer = await fetch(`${V1}/sections/${section.id}/to_reference`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  const corners = (await answer.json()).msg.points_um;
  return new Float32Array([0, 1, 1, 2, 2, 3, 3, 0].flatMap(n => corners[n]));
}
