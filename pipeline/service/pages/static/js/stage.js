// One image with its layers in a window that zooms and pans: OpenSeadragon below, a canvas of our own above.
import { MAPS, paintMask } from './colours.js';
import { idleWhen } from './idle.js';
import { Sheet } from './sheet.js';
import { View } from './view.js';

let loading = null;
function openSeadragon() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = new URL('../vendor/openseadragon.min.js', import.meta.url).href;
    script.onload = () => resolve(globalThis.OpenSeadragon);
    script.onerror = () => reject(new Error('the page could not load its image viewer; reload the page'));
    document.head.append(script);
  });
  return loading;
}
openSeadragon();

const SWAP_MS = 400; // for which the section before stays while tiles of the next arrive
const OPTIONS = {
  drawer: 'canvas',
  showNavigationControl: false,
  showNavigator: false,
  animationTime: 0.35,
  springStiffness: 9,
  zoomPerScroll: 1.3,
  visibilityRatio: 0.4,
  minZoomImageRatio: 0.5,
  maxZoomPixelRatio: 16,
  immediateRender: true, // the level that is shown, not all the coarser ones before it
  imageLoaderLimit: 6,
  maxImageCacheCount: 400,
  preserveImageSizeOnResize: true,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true, flickEnabled: false },
  gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true, pinchRotate: false },
  gestureSettingsPen: { clickToZoom: false },
};

export class Stage {
  // hooks: moved(view), pointed(pixel or null), clicked(pixel), loaded(), failed(message); all may be absent.
  constructor(element, hooks = {}) {
    this.element = element;
    this.hooks = hooks;
    this.image = null;
    this.items = {};
    this.look = { photo: true, mask: true, outlines: true, error: false, opacity: 0.8, threshold: 1, map: 'original' };
    this.outlines = null;
    this.errorUm = null;
    this.marks = [];
    this.filled = () => null;
    this.hovered = () => null;
    this.sheet = new Sheet(() => this.draw());
    this.serial = 0;
    this.shown = 0; // the newest serial that is on the screen
    this.forget = idleWhen(() => this.isIdle());
    this.ready = this.begin();
  }

  async begin() {
    const OSD = await openSeadragon();
    if (this.gone) return;
    this.OSD = OSD;
    const inner = document.createElement('div');
    inner.className = 'stage-tiles';
    this.element.append(inner);
    this.viewer = OSD({ element: inner, ...OPTIONS });
    this.viewer.addHandler('canvas-key', event => (event.preventDefaultAction = true));
    this.viewer.addHandler('tile-invalidated', event => this.paint(event));
    // An enlarged mask keeps its pixels as they are; whatever is reduced or a photo is smoothed.
    this.viewer.addHandler('tile-drawing', ({ tiledImage, context }) => {
      context.imageSmoothingEnabled = !tiledImage.source.isMask || this.view().scale < 1.5;
    });
    this.viewer.addHandler('update-viewport', () => this.paintOver());
    for (const name of ['animation', 'resize', 'rotate', 'flip']) this.viewer.addHandler(name, () => this.moved());
    this.viewer.addHandler('canvas-click', event => {
      if (event.quick) this.hooks.clicked?.(this.pixelOf(event.originalEvent), event.originalEvent);
    });
    this.viewer.addHandler('canvas-press', () => this.hooks.taken?.());
    this.viewer.addHandler('canvas-scroll', () => this.hooks.taken?.());
    this.viewer.addHandler('canvas-drag', () => this.hooks.taken?.());
    this.viewer.addHandler('tile-load-failed', event => this.hooks.failed?.(event.message));
    new OSD.MouseTracker({
      element: this.element,
      moveHandler: event => this.hooks.pointed?.(this.pixelAt(event.position)),
      leaveHandler: () => this.hooks.pointed?.(null),
    });
    // The canvas and its tracker must not keep key presses from the page.
    this.viewer.canvas.tabIndex = -1;
  }

  pixelAt(position) {
    const view = this.view();
    return view ? view.toImage([position.x, position.y]) : null;
  }

  pixelOf(event) {
    const box = this.element.getBoundingClientRect();
    return this.pixelAt({ x: event.clientX - box.left, y: event.clientY - box.top });
  }

  // image: {id, width, height, um (per px), tiles (a tile source) or null, thumbnail (URL) or null, mask (bool)}
  // place: {centre, upp, degrees, flipped} or null, which shows the whole image.
  async show(image, place) {
    await this.ready;
    const serial = ++this.serial;
    const viewer = this.viewer;
    const old = Object.values(this.items);
    this.outlines = null;
    const add = (name, source, options = {}) =>
      new Promise(resolve => {
        viewer.addTiledImage({
          tileSource: source,
          x: 0,
          y: 0,
          width: 1,
          opacity: 0,
          preload: true, // while the image before is still shown
          ...options,
          success: ({ item }) => resolve([name, item]),
          error: event => {
            if (serial === this.serial) this.hooks.failed?.(event.message);
            resolve(null);
          },
        });
      });
    const fallback = { type: 'image', url: image.thumbnail ?? blank(image), buildPyramid: false };
    const wanted = [add('photo', image.tiles ?? fallback)];
    if (image.mask) wanted.push(add('mask', maskSource(image)));
    // The reduced image of the run lies below: it is there at once, and wherever tiles are not yet.
    if (image.tiles && image.thumbnail) wanted.push(add('under', fallback));
    const added = (await Promise.all(wanted)).filter(Boolean);
    if (!added.some(([name]) => name === 'photo')) added.push(...[await add('photo', fallback)].filter(Boolean));
    if (old.length) await Promise.race([Promise.all(added.map(([, item]) => loaded(item))), wait(SWAP_MS)]);
    if (serial !== this.serial) {
      for (const [, item] of added) viewer.world.removeItem(item);
      return false;
    }
    this.items = Object.fromEntries(added);
    if (this.items.under) this.items.photo.addHandler('fully-loaded-change', () => this.applyLook());
    this.image = image;
    this.shown = serial;
    for (const name of ['under', 'photo', 'mask']) {
      if (this.items[name]) viewer.world.setItemIndex(this.items[name], viewer.world.getItemCount() - 1);
    }
    this.applyLook();
    if (!place?.centre) {
      this.goTo({ degrees: place?.degrees, flipped: place?.flipped }, true); // what is fitted depends on it
      this.fit(true);
    }
    if (place) this.goTo(place, true);
    for (const item of old) if (viewer.world.getIndexOfItem(item) >= 0) viewer.world.removeItem(item);
    this.viewer.forceRedraw();
    Promise.all(added.map(([, item]) => loaded(item))).then(() => serial === this.serial && this.hooks.loaded?.());
    return true;
  }

  // Whether the view rests and all tiles and outlines of it are drawn.
  isIdle() {
    if (!this.viewer) return false;
    if (!this.image) return !this.serial;
    const [now, then] = [this.view(), this.view(false)];
    const rests = now && now.matrix.every((value, n) => Math.abs(value - then.matrix[n]) < 1e-9)
      && now.centre.every((value, n) => Math.abs(value - then.centre[n]) * now.scale < 0.01);
    return rests && this.shown === this.serial && !this.repainting
      && Object.values(this.items).every(item => item.getFullyLoaded())
      && (!this.outlines || this.sheet.isSharp(now));
  }

  setLook(look) {
    const before = this.look;
    this.look = { ...before, ...look };
    this.sheet.clear();
    if (!this.viewer) return;
    this.applyLook();
    const repainted = ['threshold', 'map', 'opacity'].some(name => before[name] !== this.look[name]);
    if (repainted && this.items.mask) this.repaint();
    this.draw();
  }

  applyLook() {
    const { photo, mask } = this.look;
    this.items.photo?.setOpacity(photo ? 1 : 0);
    this.items.under?.setOpacity(photo && !this.items.photo.getFullyLoaded() ? 1 : 0);
    this.items.mask?.setOpacity(mask ? 1 : 0); // how opaque it is lies in its pixels, which is faster
  }

  repaint() {
    if (this.repainting) {
      this.again = true;
      return;
    }
    this.repainting = true;
    this.items.mask.requestInvalidate(true).finally(() => {
      this.repainting = false;
      this.viewer.forceRedraw();
      if (this.again) {
        this.again = false;
        if (this.items.mask) this.repaint();
      }
    });
  }

  async paint(event) {
    if (!event.tiledImage.source.isMask) return;
    const context = await event.getData('context2d');
    if (!context) return;
    const { width, height } = context.canvas;
    const pixels = context.getImageData(0, 0, width, height);
    paintMask(pixels.data, this.look.map in MAPS ? this.look.map : 'original', this.look.threshold, this.look.opacity);
    context.putImageData(pixels, 0, 0);
    await event.setData(context, 'context2d');
  }

  setOutlines(outlines) {
    this.outlines = outlines;
    this.sheet.clear();
    this.draw();
  }

  setMarks(marks) {
    this.marks = marks;
    this.draw();
  }

  // Which parts are filled: a function from a structure id to a colour or null.
  setFilled(filled) {
    this.filled = filled;
    this.sheet.clear();
    this.draw();
  }

  // The same for what is emphasised for a moment.
  setHovered(hovered) {
    this.hovered = hovered;
    this.draw();
  }

  size() {
    return [this.element.clientWidth, this.element.clientHeight];
  }

  view(current = true) {
    if (!this.viewer || !this.image || !this.viewer.world.getItemCount()) return null;
    const viewport = this.viewer.viewport;
    const [width, height] = this.size();
    const at = viewport.getCenter(current);
    const scale = (viewport.getZoom(current) * width) / this.image.width;
    const flipped = viewport.getFlip();
    const degrees = viewport.getRotation(current);
    const centre = [at.x * this.image.width - 0.5, at.y * this.image.width - 0.5];
    return new View(centre, scale, degrees, flipped, width, height);
  }

  // Micrometres per screen pixel.
  upp() {
    const view = this.view(false);
    return view ? this.image.um / view.scale : null;
  }

  goTo({ centre, upp, degrees = null, flipped = null }, immediately = false) {
    if (!this.viewer || !this.image) return;
    const viewport = this.viewer.viewport;
    if (flipped !== null && flipped !== viewport.getFlip()) viewport.setFlip(flipped);
    if (degrees !== null) {
      if (Math.abs(degrees - viewport.getRotation(false)) > 1e-3) viewport.setRotation(degrees, immediately);
    }
    const [width] = this.size();
    if (upp) viewport.zoomTo((this.image.um / upp) * (this.image.width / width), null, immediately);
    if (centre) {
      const point = new this.OSD.Point((centre[0] + 0.5) / this.image.width, (centre[1] + 0.5) / this.image.width);
      viewport.panTo(point, immediately);
    }
    if (immediately) this.viewer.forceRedraw();
  }

  fit(immediately = false) {
    if (!this.viewer || !this.image) return;
    const box = this.image.box ?? [0, 0, this.image.width, this.image.height];
    const [left, top, width, height] = box.map(value => value / this.image.width);
    this.viewer.viewport.fitBounds(new this.OSD.Rect(left, top, width, height), immediately);
  }

  // Brings back a view that shows nothing of the image.
  constrain() {
    this.viewer?.viewport.applyConstraints(true);
    this.moved();
  }

  zoomBy(factor) {
    this.viewer?.viewport.zoomBy(factor);
    this.viewer?.viewport.applyConstraints();
  }

  panBy(x, y) {
    const view = this.view(false);
    if (!view) return;
    const [width, height] = this.size();
    this.goTo({ centre: view.toImage([width / 2 + x * width, height / 2 + y * height]) });
    this.viewer.viewport.applyConstraints();
  }

  moved() {
    const view = this.view();
    if (view) this.hooks.moved?.(view);
  }

  // Has the next frame drawn, with what is above the tiles.
  draw() {
    this.viewer?.forceRedraw();
  }

  // Draws on the canvas of the tiles, which have just been drawn: a canvas above would have to be blended.
  paintOver() {
    const view = this.view();
    if (!view) return;
    const { canvas } = this.viewer.drawer;
    const context = canvas.getContext('2d');
    const ratio = canvas.width / view.width;
    context.save();
    if (this.outlines) this.drawOutlines(context, view, ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const mark of this.marks) drawMark(context, view, mark);
    context.restore();
    this.hooks.drawn?.(view);
  }

  drawOutlines(context, view, ratio) {
    this.sheet.draw(context, view, ratio, (on, whole) => this.paintOutlines(on, whole));
    view.apply(context, ratio);
    for (const part of partsIn(this.outlines, view)) {
      const colour = this.hovered(part.id);
      if (!colour) continue;
      context.fillStyle = colour;
      context.fill(part.path, 'evenodd');
    }
  }

  paintOutlines(context, view) {
    const parts = partsIn(this.outlines, view);
    const px = 1 / view.scale;
    const all = new Path2D();
    for (const part of parts) {
      all.addPath(part.path);
      const colour = this.filled(part.id);
      if (!colour) continue;
      context.fillStyle = colour;
      context.fill(part.path, 'evenodd');
    }
    context.lineJoin = 'round';
    const stroke = (style, width) => {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.stroke(all);
    };
    const { outlines, error } = this.look;
    const photo = this.look.photo && (this.image.tiles || this.image.thumbnail);
    if (error && this.errorUm) stroke('rgba(255, 140, 0, 0.35)', Math.max((2 * this.errorUm) / this.image.um, px));
    if (!outlines) return;
    if (photo) stroke('rgba(255, 255, 255, 0.45)', 2.6 * px);
    stroke(photo ? '#0b3d63' : '#8fc6f0', 1.1 * px);
  }

  destroy() {
    this.gone = true;
    this.forget();
    this.serial++;
    this.viewer?.destroy();
    this.element.replaceChildren();
  }
}

const wait = ms => new Promise(resolve => setTimeout(resolve, ms));

// Resolves once an image has all tiles of the current view.
function loaded(item) {
  if (item.getFullyLoaded()) return Promise.resolve();
  return new Promise(resolve => item.addOnceHandler('fully-loaded-change', resolve));
}

function blank({ width, height }) {
  return `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"/>`)}`;
}

// Parts of outlines that may lie in a window.
function partsIn(outlines, view) {
  const { width, height } = view;
  const corners = [[0, 0], [width, 0], [0, height], [width, height]].map(corner => view.toImage(corner));
  const [xs, ys] = [0, 1].map(axis => corners.map(corner => corner[axis]));
  const [left, top, right, bottom] = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  return outlines.parts.filter(({ box }) => box[0] <= right && box[2] >= left && box[1] <= bottom && box[3] >= top);
}

// Grey tiles of a mask, which the page colours itself: threshold and colours change without a request.
function maskSource({ id, width, height }) {
  const side = 512;
  const deepest = Math.ceil(Math.log2(Math.max(width, height)));
  return {
    width,
    height,
    tileSize: side,
    tileOverlap: 0,
    minLevel: Math.min(8, deepest),
    maxLevel: deepest,
    isMask: true,
    hasTransparency: () => false, // spares a canvas between; the tiles do not overlap
    getTileUrl: (level, x, y) => {
      const scale = 2 ** (deepest - level);
      const [left, top] = [x * side * scale, y * side * scale];
      const [w, h] = [Math.min(side * scale, width - left), Math.min(side * scale, height - top)];
      return `/iiif/3/${id}:mask/${left},${top},${w},${h}/${Math.ceil(w / scale)},${Math.ceil(h / scale)}/0/gray.png`;
    },
  };
}

function drawMark(context, view, { pixel, kind, label, colour = '#ffd400' }) {
  const [x, y] = view.toScreen(pixel);
  context.lineWidth = 3.5;
  for (const style of ['rgba(0, 0, 0, 0.65)', colour]) {
    context.strokeStyle = style;
    context.beginPath();
    if (kind === 'cross') {
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 5 * dx, y + 5 * dy);
        context.lineTo(x + 14 * dx, y + 14 * dy);
      }
    } else {
      context.arc(x, y, 6, 0, 2 * Math.PI);
    }
    context.stroke();
    context.lineWidth = 1.5;
  }
  if (label) {
    context.font = '600 12px system-ui, sans-serif';
    context.lineWidth = 3;
    context.strokeStyle = 'rgba(0, 0, 0, 0.7)';
    context.strokeText(label, x + 10, y - 8);
    context.fillStyle = colour;
    context.fillText(label, x + 10, y - 8);
  }
}
