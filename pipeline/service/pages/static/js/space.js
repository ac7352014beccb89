// The box of the original's reference, um along P, I, R. Spaces 9 and 10 count R from opposite sides of it.
const BOX_UM = [13200, 8000, 11400];
export const GRID_UM = 200; // spacing of the grid
export const GRID_SHAPE = BOX_UM.map(side => side / GRID_UM + 1);

export const otherSide = ([p, i, r]) => [p, i, BOX_UM[2] - r];

// The shape of a grid, as the header of an answer states it: references of one's own have other boxes.
export function gridShape(answer) {
  const given = (answer.headers.get('X-Grid-Shape') ?? '').split(',').map(Number);
  return given.length === 3 && given.every(count => count > 0) ? given : GRID_SHAPE;
}

export const boxOf = shape => shape.map(count => (count - 1) * GRID_UM);
