// The grid in three dimensions: a sphere per voxel, its diameter the energy, its colour the intensity.
import { MAPS } from './colours.js';
import { Hull } from './hull.js';
import { idleWhen } from './idle.js';
import { GRID_SHAPE, boxOf } from './space.js';

const COLUMNS = 7; // P, I, R, energy, intensity, density, graph order
const LARGEST_UM = 230; // diameter of the strongest: a little more than a voxel
const FAR = 1.563; // of the camera from the middle, in diagonals of the box

const VERTEX = `#version 300 es
in vec3 at; in float size; in vec3 colour; in float state;
uniform mat4 camera; uniform float px; uniform vec3 low, high;
out vec3 shade;
void main() {
  gl_Position = camera * vec4(at, 1.0);
  bool cut = state > 0.5 || any(lessThan(at, low)) || any(greaterThan(at, high));
  gl_PointSize = cut ? 0.0 : max(size * px / gl_Position.w, 1.5);
  if (cut) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  shade = colour;
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec3 shade; out vec4 paint;
void main() {
  vec2 p = 2.0 * gl_PointCoord - 1.0;
  float r = dot(p, p);
  if (r > 1.0) discard;
  vec3 normal = vec3(p.x, -p.y, sqrt(1.0 - r));
  float light = 0.45 + 0.55 * max(dot(normal, normalize(vec3(-0.4, 0.5, 0.75))), 0.0);
  paint = vec4(shade * light, 1.0);
}`;
const LINE_VERTEX = `#version 300 es
in vec3 at; uniform mat4 camera; void main() { gl_Position = camera * vec4(at, 1.0); }`;
const LINE_FRAGMENT = `#version 300 es
precision mediump float; uniform vec4 colour; out vec4 paint; void main() { paint = colour; }`;

export class Spheres {
  constructor(canvas, hooks = {}) {
    this.canvas = canvas;
    this.hooks = hooks;
    this.gl = canvas.getContext('webgl2', { antialias: false, preserveDrawingBuffer: true });
    if (!this.gl) throw new Error('this browser has no WebGL 2, which the spheres need; the projections show the same grid');
    this.turn = { yaw: 35, pitch: 20, zoom: 1.15 };
    this.box = boxOf(GRID_SHAPE);
    this.cut = { low: [0, 0, 0], high: [...this.box] };
    this.map = 'original';
    this.count = 0;
    this.least = 0;
    this.plane = null;
    this.point = null;
    this.begin();
    this.listen();
    this.forget = idleWhen(() => !this.asked);
  }

  begin() {
    const gl = this.gl;
    this.balls = program(gl, VERTEX, FRAGMENT);
    this.lines = program(gl, LINE_VERTEX, LINE_FRAGMENT);
    this.hull = new Hull(gl, program);
    this.buffers = Object.fromEntries(['at', 'size', 'colour', 'state', 'line'].map(name => [name, gl.createBuffer()]));
    gl.enable(gl.DEPTH_TEST);
    gl.clearColor(0.055, 0.078, 0.102, 1);
  }

  // rows: Float32Array of COLUMNS values a voxel.
  setData(rows) {
    this.rows = rows;
    this.count = rows.length / COLUMNS;
    const energies = Array.from({ length: this.count }, (_, n) => rows[n * COLUMNS + 3]);
    const sorted = [...energies].sort((a, b) => a - b);
    this.top = sorted[Math.floor(0.995 * (sorted.length - 1))] || 1;
    const at = new Float32Array(3 * this.count);
    const size = new Float32Array(this.count);
    for (let n = 0; n < this.count; n++) {
      at.set(rows.subarray(n * COLUMNS, n * COLUMNS + 3), 3 * n);
      size[n] = LARGEST_UM * Math.min(energies[n] / this.top, 1.3);
    }
    const intensities = Float32Array.from(energies, (_, n) => rows[n * COLUMNS + 4]).sort();
    this.colouredBy = intensities.length && intensities[intensities.length - 1] > 0 ? 'intensity' : 'energy';
    this.least = 0.05 * this.top;
    this.brightest = intensities[Math.floor(0.995 * (this.count - 1))] || 255;
    this.sizes = size;
    this.upload('at', at);
    this.upload('size', size);
    this.recolour();
    this.emphasise(null);
  }

  recolour() {
    if (!this.rows) return;
    const colours = MAPS[this.map];
    const shade = new Float32Array(3 * this.count);
    for (let n = 0; n < this.count; n++) {
      const value = Math.max(0, Math.min(255, Math.round(255 * this.shade(n))));
      for (let c = 0; c < 3; c++) shade[3 * n + c] = colours[3 * Math.max(value, 1) + c] / 255;
    }
    this.upload('colour', shade);
    this.draw();
  }

  // 0 to 1: intensity, or energy where the experiment has no grid of intensity.
  shade(n) {
    return this.colouredBy === 'intensity' ? this.rows[n * COLUMNS + 4] / this.brightest : this.rows[n * COLUMNS + 3] / this.top;
  }

  // Hides all voxels but those that `chosen` (of a graph order) takes, which others would cover; null hides none.
  emphasise(chosen) {
    if (!this.rows) return;
    const state = new Float32Array(this.count);
    if (chosen) for (let n = 0; n < this.count; n++) state[n] = chosen(this.rows[n * COLUMNS + 6]) ? 0 : 1;
    this.states = state;
    this.upload('state', state);
    this.draw();
  }

  upload(name, values) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
  }

  draw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      this.paint();
    });
  }

  camera() {
    const { yaw, pitch, zoom } = this.turn;
    const [a, b] = [(yaw * Math.PI) / 180, (-pitch * Math.PI) / 180];
    const [ca, sa, cb, sb] = [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b)];
    // The brain is seen from its left side: right on the screen is posterior at a yaw of 0, up is
    // superior; a pitch above 0 looks down on it.
    const rows = [
      [ca, 0, sa],
      [sa * sb, -cb, -ca * sb],
      [sa * cb, sb, -ca * cb],
    ];
    const [width, height] = [this.canvas.width, this.canvas.height];
    const far = (FAR * Math.hypot(...this.box)) / zoom;
    const fit = 3.1 * Math.min(1, (width / height) * 0.75);
    const centre = this.box.map(side => side / 2);
    const m = new Float32Array(16);
    const shift = rows.map(row => -(row[0] * centre[0] + row[1] * centre[1] + row[2] * centre[2]));
    const scales = [(fit * height) / width, fit];
    for (let c = 0; c < 3; c++) {
      m[4 * c] = scales[0] * rows[0][c];
      m[4 * c + 1] = scales[1] * rows[1][c];
      m[4 * c + 2] = -rows[2][c];
      m[4 * c + 3] = -rows[2][c];
    }
    m[12] = scales[0] * shift[0];
    m[13] = scales[1] * shift[1];
    // Clip depth from 1 to 2 `far`: z' = (w - near) scaled, enough for a box that is never entered.
    const around = 0.625 * Math.hypot(...this.box);
    const [near, end] = [Math.max(far - around, 200), far + around];
    m[14] = 0;
    m[15] = far - shift[2];
    const [p, q] = [(end + near) / (end - near), (-2 * end * near) / (end - near)];
    for (let c = 0; c < 4; c++) m[4 * c + 2] = p * m[4 * c + 3];
    m[14] += q;
    return { matrix: m, px: (fit * height) / 2, eye: centre.map((at, c) => at + far * rows[2][c]) };
  }

  paint() {
    const gl = this.gl;
    const ratio = Math.min(globalThis.devicePixelRatio || 1, 2);
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight].map(n => Math.max(1, Math.round(n * ratio)));
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const { matrix, px, eye } = this.camera();
    this.paintLines(matrix, boxLines(this.box), [0.2, 0.25, 0.3, 1]);
    if (this.plane) this.paintLines(matrix, this.plane, [1, 0.83, 0, 1]);
    if (this.point) this.paintLines(matrix, crossLines(this.point), [1, 0.83, 0, 1]);
    if (this.count) {
      gl.useProgram(this.balls);
      for (const [name, size] of [['at', 3], ['size', 1], ['colour', 3], ['state', 1]]) this.attribute(this.balls, name, size);
      gl.uniformMatrix4fv(gl.getUniformLocation(this.balls, 'camera'), false, matrix);
      gl.uniform1f(gl.getUniformLocation(this.balls, 'px'), px);
      gl.uniform3fv(gl.getUniformLocation(this.balls, 'low'), this.cut.low.map(v => v - 1));
      gl.uniform3fv(gl.getUniformLocation(this.balls, 'high'), this.cut.high.map(v => v + 1));
      gl.drawArrays(gl.POINTS, 0, this.shown());
    }
    this.hull.paint(matrix, eye);
    this.hooks.drawn?.();
  }

  paintLines(matrix, points, colour) {
    const gl = this.gl;
    gl.useProgram(this.lines);
    this.upload('line', points);
    this.attribute(this.lines, 'at', 3, 'line');
    gl.uniformMatrix4fv(gl.getUniformLocation(this.lines, 'camera'), false, matrix);
    gl.uniform4fv(gl.getUniformLocation(this.lines, 'colour'), colour);
    gl.drawArrays(gl.LINES, 0, points.length / 3);
  }

  attribute(owner, name, size, buffer = name) {
    const gl = this.gl;
    const place = gl.getAttribLocation(owner, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[buffer]);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, gl.FLOAT, false, 0, 0);
  }

  // Where a point of the reference lies on the canvas, CSS px, with its depth; null behind the camera.
  project(point) {
    const { matrix: m, px } = this.camera();
    const clip = [0, 1, 2, 3].map(r => m[r] * point[0] + m[4 + r] * point[1] + m[8 + r] * point[2] + m[12 + r]);
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const x = (0.5 + clip[0] / clip[3] / 2) * width;
    const y = (0.5 - clip[1] / clip[3] / 2) * height;
    return { x, y, depth: clip[3], px: (px / clip[3] / this.canvas.height) * height };
  }

  // Voxels of at least the least energy: the strongest come first.
  shown() {
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle * COLUMNS + 3] >= this.least) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // The foremost visible voxel under a place of the canvas.
  pick(x, y) {
    let best = null;
    for (let n = 0; n < this.shown(); n++) {
      const row = this.rows.subarray(n * COLUMNS, (n + 1) * COLUMNS);
      const hidden = [0, 1, 2].some(c => row[c] < this.cut.low[c] - 1 || row[c] > this.cut.high[c] + 1);
      if (hidden || this.states[n]) continue;
      const there = this.project(row);
      const radius = Math.max((this.sizes[n] * there.px) / 2, 2);
      if ((there.x - x) ** 2 + (there.y - y) ** 2 <= radius ** 2 && (!best || there.depth < best.depth)) {
        best = { depth: there.depth, ...voxel(row) };
      }
    }
    return best;
  }

  strongest() {
    return this.count ? voxel(this.rows) : null; // the service sends the strongest first
  }

  listen() {
    const canvas = this.canvas;
    let from = null;
    const fingers = new Map(); // places of pointers that are down
    const spread = () => {
      const [a, b] = [...fingers.values()];
      return Math.hypot(a.x - b.x, a.y - b.y) || 1;
    };
    canvas.addEventListener('pointerdown', event => {
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      from = fingers.size === 1 ? { x: event.clientX, y: event.clientY, far: 0 } : null; // two fingers zoom
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointermove', event => {
      if (fingers.has(event.pointerId)) {
        const before = fingers.size === 2 && spread();
        fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
        if (before) this.zoomBy(spread() / before);
      }
      if (!from) return;
      const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
      from = { x: event.clientX, y: event.clientY, far: from.far + Math.abs(dx) + Math.abs(dy) };
      this.rotate(-dx * 0.5, dy * 0.5);
    });
    canvas.addEventListener('pointercancel', event => {
      fingers.delete(event.pointerId);
      from = null;
    });
    canvas.addEventListener('pointerup', event => {
      fingers.delete(event.pointerId);
      const still = from && from.far < 4;
      from = null;
      if (!still) return;
      const box = canvas.getBoundingClientRect();
      this.hooks.picked?.(this.pick(event.clientX - box.left, event.clientY - box.top));
    });
    canvas.addEventListener('wheel', event => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * 0.0015));
    }, { passive: false });
  }

  rotate(yaw, pitch) {
    this.turn.yaw = (this.turn.yaw + yaw + 540) % 360 - 180;
    this.turn.pitch = Math.max(-90, Math.min(90, this.turn.pitch + pitch));
    this.hooks.turned?.(this.turn);
    this.draw();
  }

  zoomBy(factor) {
    this.turn.zoom = Math.max(0.5, Math.min(6, this.turn.zoom * factor));
    this.hooks.turned?.(this.turn);
    this.draw();
  }

  set(turn) {
    Object.assign(this.turn, turn);
    this.draw();
  }
}

function voxel(row) {
  return { point: [row[0], row[1], row[2]], energy: row[3], intensity: row[4], density: row[5], order: row[6] };
}

function boxLines([p, i, r]) {
  const found = [];
  for (const [a, b] of [[0, 0], [1, 0], [0, 1], [1, 1]]) {
    found.push(0, a * i, b * r, p, a * i, b * r);
    found.push(a * p, 0, b * r, a * p, i, b * r);
    found.push(a * p, b * i, 0, a * p, b * i, r);
  }
  return new Float32Array(found);
}

function crossLines([p, i, r], side = 500) {
  return new Float32Array([p - side, i, r, p + side, i, r, p, i - side, r, p, i + side, r, p, i, r - side, p, i, r + side]);
}

function program(gl, vertex, fragment) {
  const found = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(found, shader);
  }
  gl.linkProgram(found);
  return found;
}
