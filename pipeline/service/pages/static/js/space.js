// The box of the reference, um along P, I, R. Spaces 9 and 10 count R from opposite sides of it.
export const BOX_UM = [13200, 8000, 11400];

export const otherSide = ([p, i, r]) => [p, i, BOX_UM[2] - r];
