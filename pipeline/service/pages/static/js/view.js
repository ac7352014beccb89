// Where the pixels of a section or plate lie on the screen: scale, rotation and mirroring about a centre.
// Pixel centres lie at whole numbers, as everywhere in the service.

export class View {
  // centre: [x, y] px of the image at the middle of the screen; scale: screen px per image px; degrees clockwise.
  constructor(centre, scale, degrees, flipped, width, height) {
    Object.assign(this, { centre, scale, degrees, flipped, width, height });
    const turn = (degrees * Math.PI) / 180;
    const [c, s] = [Math.cos(turn) * scale, Math.sin(turn) * scale];
    const m = flipped ? -1 : 1;
    this.matrix = [m * c, s, -m * s, c]; // a, b, c, d of a canvas
  }

  toScreen([x, y]) {
    const [a, b, c, d] = this.matrix;
    const [u, v] = [x - this.centre[0], y - this.centre[1]];
    return [this.width / 2 + a * u + c * v, this.height / 2 + b * u + d * v];
  }

  toImage([x, y]) {
    const [a, b, c, d] = this.matrix;
    const [u, v] = [x - this.width / 2, y - this.height / 2];
    const det = a * d - b * c;
    return [this.centre[0] + (d * u - c * v) / det, this.centre[1] + (a * v - b * u) / det];
  }

  // For drawings whose pixels begin at whole numbers, as SVG of the service does.
  apply(context, ratio) {
    const [a, b, c, d] = this.matrix;
    const [e, f] = this.toScreen([-0.5, -0.5]);
    context.setTransform(ratio * a, ratio * b, ratio * c, ratio * d, ratio * e, ratio * f);
  }
}

// A round length of at most `most` µm: 1, 2 or 5 times a power of ten.
export function roundLength(most) {
  const ten = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].map(n => n * ten).find(length => length <= most) ?? ten;
}

export const lengthText = um => (um >= 1000 ? `${+(um / 1000).toFixed(2)} mm` : `${+um.toFixed(2)} µm`);
