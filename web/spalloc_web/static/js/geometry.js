// Where boards lie on a map of hexagons.  The server's _http/geometry.py has the same rule.
//
// A hexagon is 4 units wide; columns are 3 units apart, rows are half a hexagon high and are
// counted upwards.  A triad to the right is two columns on; a triad up is three rows up and a
// column left.

export const HALF = Math.sqrt(3);

/** Links of a board, anticlockwise from east, as steps in [columns, rows]. */
export const STEPS = [[1, -1], [1, 1], [0, 2], [-1, 1], [-1, -1], [0, -2]];

/** The edge towards each link: two corners, from the hexagon's middle. */
export const EDGES = [
  [[2, 0], [1, HALF]],
  [[1, -HALF], [2, 0]],
  [[-1, -HALF], [1, -HALF]],
  [[-2, 0], [-1, -HALF]],
  [[-1, HALF], [-2, 0]],
  [[1, HALF], [-1, HALF]],
];

export const key = (x, y, z) => `${x},${y},${z}`;

export const cellOf = (x, y, z) => [2 * x - y + (z === 1 ? 1 : 0), 3 * y + z];

export const middleOf = ([column, row]) => [column * 3, -row * HALF];

/** The board at a cell of the endless map. */
export function boardAt([column, row]) {
  const y = Math.floor(row / 3);
  const z = row - 3 * y;
  return [(column + y - (z === 1 ? 1 : 0)) / 2, y, z];
}

/** The board that a link leads to, on the endless map. */
export function neighbour([x, y, z], link) {
  const [column, row] = cellOf(x, y, z);
  return boardAt([column + STEPS[link][0], row + STEPS[link][1]]);
}

export const number = (value) => Math.round(value * 1000) / 1000;

/** A hexagon as a path, around a middle. */
export function hexagon([cx, cy], scale = 1) {
  const a = number(scale);
  const h = number(HALF * scale);
  return `M${number(cx - 2 * a)} ${number(cy)}l${a} ${-h}h${2 * a}l${a} ${h}l${-a} ${h}h${-2 * a}z`;
}

/** One edge of a hexagon as a path. */
export function edge([cx, cy], link, scale = 1) {
  const [[ax, ay], [bx, by]] = EDGES[link];
  return `M${number(cx + ax * scale)} ${number(cy + ay * scale)}`
    + `L${number(cx + bx * scale)} ${number(cy + by * scale)}`;
}
