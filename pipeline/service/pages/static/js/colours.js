// Colour maps of the mask and of the spheres: tables of 256 colours, the same as the service's where it has one.
const ramps = {
  original: [[0, 0, 0, 0], [1, 0, 0, 255], [64, 0, 255, 255], [128, 0, 255, 0], [192, 255, 255, 0], [255, 255, 0, 0]],
  // Even in lightness, and apart for every kind of colour vision: dark blue, violet, orange, pale yellow.
  safe: [[0, 0, 0, 60], [36, 40, 11, 124], [84, 126, 3, 168], [128, 190, 43, 135], [168, 229, 92, 103],
    [212, 251, 158, 58], [255, 240, 249, 33]],
};

function table(corners) {
  const found = new Uint8ClampedArray(768);
  for (let value = 0; value < 256; value++) {
    let at = 1;
    while (corners[at][0] < value) at++;
    const [low, ...from] = corners[at - 1];
    const [high, ...to] = corners[at];
    const share = (value - low) / (high - low);
    for (let c = 0; c < 3; c++) found[3 * value + c] = from[c] + share * (to[c] - from[c]);
  }
  return found;
}

export const MAPS = { original: table(ramps.original), safe: table(ramps.safe) };
export const MAP_NAMES = { original: 'blue–green–red', safe: 'colour-blind safe' };

// Paint grey mask pixels: transparent below the threshold, else the colour of their intensity.
export function paintMask(pixels, map, threshold, opacity = 1) {
  const alpha = Math.round(255 * opacity);
  const colours = MAPS[map];
  const least = Math.max(threshold, 1);
  for (let at = 0; at < pixels.length; at += 4) {
    const value = pixels[at];
    if (value < least) {
      pixels[at + 3] = 0;
    } else {
      pixels[at] = colours[3 * value];
      pixels[at + 1] = colours[3 * value + 1];
      pixels[at + 2] = colours[3 * value + 2];
      pixels[at + 3] = alpha;
    }
  }
}

export function gradient(map) {
  const stops = [1, 64, 128, 192, 255].map(value => `rgb(${MAPS[map].slice(3 * value, 3 * value + 3).join(',')})`);
  return `linear-gradient(to right, ${stops.join(', ')})`;
}
