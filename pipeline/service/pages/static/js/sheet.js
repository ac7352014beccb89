// Outlines drawn once on a sheet larger than the window. While the view moves, the sheet is moved with it, for
// strokes are dear: 90 ms a frame in software. It is drawn anew when the view rests or leaves it.
import { View } from './view.js';

const MARGIN = 0.3; // of the window on each side
const STRETCH = 1.6; // by which the sheet may be enlarged or reduced
const REST_MS = 120;

export class Sheet {
  constructor(redraw) {
    this.redraw = redraw;
    this.canvas = document.createElement('canvas');
    this.view = null;
    this.timer = 0;
  }

  clear() {
    this.view = null;
  }

  // Draws the outlines on a canvas whose window is `view`.
  draw(context, view, ratio, paint) {
    if (!this.fits(view)) this.render(view, ratio, paint);
    else if (!this.isSharp(view)) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => {
        this.clear();
        this.redraw();
      }, REST_MS);
    }
    const [width, height] = [this.view.width, this.view.height];
    const at = place => view.toScreen(this.view.toImage(place));
    const [o, x, y] = [at([0, 0]), at([width, 0]), at([0, height])];
    const step = (to, side) => [(to[0] - o[0]) / side, (to[1] - o[1]) / side];
    if (this.isSharp(view)) context.setTransform(1, 0, 0, 1, Math.round(ratio * o[0]), Math.round(ratio * o[1]));
    else context.setTransform(...step(x, width), ...step(y, height), ratio * o[0], ratio * o[1]);
    context.drawImage(this.canvas, 0, 0);
  }

  fits(view) {
    const sheet = this.view;
    if (!sheet || sheet.flipped !== view.flipped) return false;
    const ratio = view.scale / sheet.scale;
    if (ratio > STRETCH || ratio < 1 / STRETCH) return false;
    const corners = [[0, 0], [view.width, 0], [0, view.height], [view.width, view.height]];
    return corners.every(corner => {
      const [x, y] = sheet.toScreen(view.toImage(corner));
      return x > -1 && y > -1 && x < sheet.width + 1 && y < sheet.height + 1;
    });
  }

  isSharp(view) {
    return this.view !== null && Math.abs(view.scale / this.view.scale - 1) < 1e-3 && Math.abs(view.degrees - this.view.degrees) < 1e-3;
  }

  render(view, ratio, paint) {
    const [width, height] = [view.width, view.height].map(side => Math.round(side * (1 + 2 * MARGIN)));
    this.view = new View(view.centre, view.scale, view.degrees, view.flipped, width, height);
    Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    const context = this.canvas.getContext('2d');
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.view.apply(context, ratio);
    paint(context, this.view);
  }
}
