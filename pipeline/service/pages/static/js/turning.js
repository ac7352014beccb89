// How sections lie in the brain, and how one is turned so that directions on the screen mean the same as in another.
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

// The pixels that a follower moves by when its leader moves by some: what of the step lies in its plane.
export function moved(leader, [x, y], follower) {
  const step = [0, 1, 2].map(n => leader[0][n] * x + leader[1][n] * y);
  const [a, b] = follower;
  const [aa, ab, bb, sa, sb] = [dot(a, a), dot(a, b), dot(b, b), dot(step, a), dot(step, b)];
  const det = aa * bb - ab * ab;
  return [(bb * sa - ab * sb) / det, (aa * sb - ab * sa) / det];
}

const AGREE = Math.cos((30 * Math.PI) / 180);

// How a follower is turned so that directions on the screen mean what they mean in the leader.
export function turned(leader, view, follower) {
  const [a, b] = leader;
  const [na, nb] = [cross(a, b), cross(...follower)];
  const agreement = Math.abs(dot(na, nb)) / Math.sqrt(dot(na, na) * dot(nb, nb));
  if (!(agreement >= AGREE)) return { degrees: 0, flipped: false };
  const [aa, ab, bb] = [dot(a, a), dot(a, b), dot(b, b)];
  const det = aa * bb - ab * ab;
  const [ma, mb, mc, md] = view.matrix;
  const columns = follower.map(step => {
    const [u, v] = [dot(step, a), dot(step, b)];
    const [x, y] = [(bb * u - ab * v) / det, (aa * v - ab * u) / det]; // px of the leader
    return [ma * x + mc * y, mb * x + md * y]; // px of the screen
  });
  const flipped = columns[0][0] * columns[1][1] - columns[0][1] * columns[1][0] < 0;
  const sign = flipped ? -1 : 1;
  const [[xx, xy], [yx, yy]] = columns;
  const degrees = (Math.atan2(xy - sign * yx, sign * xx + yy) * 180) / Math.PI;
  return { degrees, flipped };
}

// The directions of the screen on a plane of the atlas, right and down.
const OF_ATLAS = { coronal: [[0, 0, 1], [0, 1, 0]], sagittal: [[1, 0, 0], [0, 1, 0]], horizontal: [[0, 0, 1], [1, 0, 0]] };
const PLAIN = { matrix: [1, 0, 0, 1] };

// axes: what a step to the right and one down in the image are in the reference.
export const asAtlas = (plane, axes) => turned(OF_ATLAS[plane] ?? OF_ATLAS.coronal, PLAIN, axes);
