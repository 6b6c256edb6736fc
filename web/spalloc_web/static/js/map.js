// A machine's map: one hexagon per board, drawn once and then changed board by board.

import { STEPS, boardAt, cellOf, edge, hexagon, key, middleOf, number } from "./geometry.js";
import { STATES, drawnState, stateOf } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
/** Above this, letters on single boards could not be read, so there is one per job. */
const MOST_LETTERS = 2500;
/** Width of a hexagon in pixels below which letters are drawn once per job. */
const LEGIBLE = 13;

const element = (name, attributes = {}) => {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
};

export class HexMap {
  /**
   * @param svg element to draw in
   * @param store what is known
   * @param name of the machine
   * @param only keys of the boards to draw; all if null
   * @param labelOf says in words what a board is, given its key
   */
  constructor(svg, store, name, { only = null, labelOf = (place) => `Board ${place}` } = {}) {
    this.svg = svg;
    this.store = store;
    this.name = name;
    this.only = only;
    this.labelOf = labelOf;
    this.boards = new Map();
    this.letters = new Map();
    this.outlines = new Map();
    this.labels = new Map();
    this.selected = { job: null, state: null, board: null };
    this.build();
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(svg);
  }

  get machine() {
    return this.store.machines.get(this.name);
  }

  /** Draw everything anew. */
  build() {
    const layers = ["ground", "boards", "outlines", "links", "letters", "labels", "cursor"];
    this.layers = Object.fromEntries(layers.map((name) => [name, element("g", { class: name })]));
    this.boards.clear();
    this.letters.clear();
    this.outlines.clear();
    this.labels.clear();
    this.jobBoards = new Map();
    const drawn = document.createDocumentFragment();
    for (const [place, row] of this.machine.boards) {
      if (this.only && !this.only.has(place)) continue;
      const middle = middleOf(cellOf(row[0], row[1], row[2]));
      const path = element("path", { d: hexagon(middle), "data-board": place });
      const board = { path, row: null, middle, cell: cellOf(row[0], row[1], row[2]) };
      this.boards.set(place, board);
      drawn.append(path);
    }
    this.layers.boards.append(drawn);
    this.perBoard = this.boards.size <= MOST_LETTERS;
    const touched = new Set();
    for (const place of this.boards.keys()) this.#paint(place, touched);
    this.#ground();
    this.#links();
    for (const jobId of touched) this.#outline(jobId);
    if (this.only) this.#fitBox();
    this.ring = element("path", { class: "ring", d: "" });
    this.layers.cursor.append(this.ring);
    // Measured first: classes that change afterwards would have all boards styled again.
    this.measure();
    this.#tabStop();
    this.svg.replaceChildren(...Object.values(this.layers));
    this.svg.dataset.boards = this.boards.size;
    this.mark(this.selected);
  }

  /** Draw the boards that have changed; rows as in frames. */
  update(rows) {
    const touched = new Set();
    for (const row of rows) {
      const place = key(row[0], row[1], row[2]);
      if (this.boards.has(place)) this.#paint(place, touched);
    }
    for (const jobId of touched) this.#outline(jobId);
    if (this.focused) this.#describe(this.focused);
    this.mark(this.selected);
  }

  /** Draw jobs anew whose letter or colour may have changed. */
  updateJobs(jobIds) {
    const touched = new Set();
    for (const jobId of jobIds) {
      for (const place of this.jobBoards.get(jobId) ?? []) this.#paint(place, touched, true);
    }
    for (const jobId of touched) this.#outline(jobId);
  }

  #paint(place, touched, again = false) {
    const board = this.boards.get(place);
    const row = this.machine.boards.get(place);
    const [, , , word, jobId] = row;
    const old = board.row;
    board.row = row;
    const job = jobId === null ? null : this.store.jobs.get(jobId);
    const state = drawnState(row);
    if (!old || old[3] !== word || old[4] !== jobId || drawnState(old) !== state || again) {
      const { path } = board;
      path.setAttribute("data-state", word);
      if (jobId === null) path.removeAttribute("data-job");
      else path.setAttribute("data-job", jobId);
      const coloured = job && job.colour !== null && (state === "used" || state === "draining");
      path.setAttribute("class", `board s-${state}${coloured ? ` c${job.colour}` : ""}`);
      this.#letter(place, board, coloured ? job.letter + STATES[state].sign : STATES[state].sign);
    }
    if (old && old[4] !== null && old[4] !== jobId) {
      this.jobBoards.get(old[4])?.delete(place);
      touched.add(old[4]);
    }
    if (jobId !== null && (!old || old[4] !== jobId || again)) {
      if (!this.jobBoards.has(jobId)) this.jobBoards.set(jobId, new Set());
      this.jobBoards.get(jobId).add(place);
      touched.add(jobId);
    }
  }

  #letter(place, board, sign) {
    if (!this.perBoard) return;
    let text = this.letters.get(place);
    if (!sign) {
      text?.remove();
      this.letters.delete(place);
      return;
    }
    if (!text) {
      const [cx, cy] = board.middle;
      text = element("text", { x: number(cx), y: number(cy) });
      this.letters.set(place, text);
      this.layers.letters.append(text);
    }
    text.textContent = sign;
    const length = sign.length > 2 ? "long" : "short";
    const job = board.row[4] === null ? "" : " job";
    text.setAttribute("class", `${length} on-${drawnState(board.row)}${job}`);
  }

  /** The line around a job's boards, and its letter in the middle of them. */
  #outline(jobId) {
    const places = this.jobBoards.get(jobId);
    if (!places || places.size === 0) {
      this.outlines.get(jobId)?.remove();
      this.labels.get(jobId)?.remove();
      this.outlines.delete(jobId);
      this.labels.delete(jobId);
      this.jobBoards.delete(jobId);
      return;
    }
    let path = "";
    let [sumX, sumY] = [0, 0];
    for (const place of places) {
      const { cell, middle } = this.boards.get(place);
      sumX += middle[0];
      sumY += middle[1];
      for (let link = 0; link < 6; link += 1) {
        const beside = boardAt([cell[0] + STEPS[link][0], cell[1] + STEPS[link][1]]);
        if (!places.has(key(...beside))) path += edge(middle, link);
      }
    }
    if (!this.outlines.has(jobId)) {
      const made = element("path", { class: "outline", "data-outline": jobId });
      this.outlines.set(jobId, made);
      this.layers.outlines.append(made);
    }
    this.outlines.get(jobId).setAttribute("d", path);
    this.#label(jobId, places, [sumX / places.size, sumY / places.size]);
  }

  #label(jobId, places, [cx, cy]) {
    const letter = this.store.jobs.get(jobId)?.letter ?? "";
    let nearest = null;
    let least = Infinity;
    for (const place of places) {
      const [x, y] = this.boards.get(place).middle;
      const distance = (x - cx) ** 2 + (y - cy) ** 2;
      if (distance < least) [nearest, least] = [[x, y], distance];
    }
    if (!this.labels.has(jobId)) {
      const made = element("text", {});
      this.labels.set(jobId, made);
      this.layers.labels.append(made);
    }
    const label = this.labels.get(jobId);
    label.setAttribute("x", number(nearest[0]));
    label.setAttribute("y", number(nearest[1]));
    label.textContent = letter;
    this.#sizeLabel(label, places.size);
  }

  #sizeLabel(label, count) {
    // As large as the job's boards allow, and no smaller than can be read.
    const units = Math.min(2.2 * Math.sqrt(count), 9);
    const least = 12 / (this.scale || 1);
    label.setAttribute("font-size", number(Math.max(2, Math.min(units, Math.max(least, 3)))));
    label.toggleAttribute("hidden", count * 4 * (this.scale || 1) < 14);
  }

  /** Short dashes where links lead around the edge of the machine. */
  #ground() {
    if (this.only) return;
    const dead = this.#deadLinks();
    const { width, height } = this.machine;
    let path = "";
    for (const [place, board] of this.boards) {
      for (let link = 0; link < 6; link += 1) {
        const [dc, dr] = STEPS[link];
        const [x, y, z] = boardAt([board.cell[0] + dc, board.cell[1] + dr]);
        const inside = x >= 0 && y >= 0 && x < width && y < height;
        const far = key(((x % width) + width) % width, ((y % height) + height) % height, z);
        if (inside || dead.has(`${place},${link}`) || !this.boards.has(far)) continue;
        const [cx, cy] = board.middle;
        const [ox, oy] = [dc * 1.5, -dr * Math.sqrt(3) / 2];
        path += `M${number(cx + ox * 1.14)} ${number(cy + oy * 1.14)}`
          + `L${number(cx + ox * 1.42)} ${number(cy + oy * 1.42)}`;
      }
    }
    this.layers.ground.append(element("path", { class: "wrap", d: path }));
  }

  #deadLinks() {
    const dead = new Set();
    const { width, height } = this.machine;
    for (const [x, y, z, link] of this.machine.dead_links) {
      dead.add(`${key(x, y, z)},${link}`);
      const [column, row] = cellOf(x, y, z);
      const [fx, fy, fz] = boardAt([column + STEPS[link][0], row + STEPS[link][1]]);
      const far = key(((fx % width) + width) % width, ((fy % height) + height) % height, fz);
      dead.add(`${far},${(link + 3) % 6}`);
    }
    return dead;
  }

  #links() {
    let path = "";
    const { width, height } = this.machine;
    for (const name of this.#deadLinks()) {
      const [x, y, z, link] = name.split(",").map(Number);
      const board = this.boards.get(key(x, y, z));
      const [column, row] = cellOf(x, y, z);
      const [fx, fy] = boardAt([column + STEPS[link][0], row + STEPS[link][1]]);
      // Edges of the machine that lead nowhere are no news.
      const beyond = fx < 0 || fy < 0 || fx >= width || fy >= height;
      if (board && !beyond) path += edge(board.middle, link, 0.94);
    }
    this.layers.links.append(element("path", { class: "dead-link", d: path }));
  }

  #fitBox() {
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const { middle: [x, y] } of this.boards.values()) {
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
    const box = [left - 3, top - 3, right - left + 6, bottom - top + 6].map(number);
    this.svg.setAttribute("viewBox", box.join(" "));
  }

  /** Choose between letters on boards and letters on jobs, by what can be read. */
  measure() {
    const width = this.svg.clientWidth;
    if (!width) return;
    this.scale = width / this.svg.viewBox.baseVal.width;
    const legible = this.perBoard && this.scale * 4 >= LEGIBLE;
    this.svg.classList.toggle("by-board", legible);
    this.svg.classList.toggle("by-job", !legible);
    this.svg.classList.toggle("tiny", this.scale * 4 < 9);
    if (!legible) {
      for (const [jobId, label] of this.labels) {
        this.#sizeLabel(label, this.jobBoards.get(jobId).size);
      }
    }
  }

  /** Make what is selected stand out: a job, a state, or a board. */
  mark(selected) {
    this.selected = selected;
    const { job, state } = selected;
    this.svg.classList.toggle("dimmed", job !== null || state !== null);
    for (const path of this.svg.querySelectorAll(".picked")) path.classList.remove("picked");
    if (job !== null) {
      for (const place of this.jobBoards.get(job) ?? []) {
        this.boards.get(place).path.classList.add("picked");
      }
      this.outlines.get(job)?.classList.add("picked");
    } else if (state !== null) {
      for (const { path, row } of this.boards.values()) {
        if (stateOf(row[3]) === state) path.classList.add("picked");
      }
    }
  }

  // --- keyboard --------------------------------------------------------------------------

  /** One board can be reached with the tabulator; arrows move on from there. */
  #tabStop() {
    const kept = this.stop && this.boards.has(this.stop);
    const first = kept ? this.stop : this.boards.keys().next().value;
    if (first !== undefined) this.#setStop(first);
  }

  #setStop(place) {
    const old = this.boards.get(this.stop)?.path;
    for (const attribute of ["tabindex", "role", "aria-label"]) old?.removeAttribute(attribute);
    this.stop = place;
    this.boards.get(place).path.setAttribute("tabindex", "0");
    this.boards.get(place).path.setAttribute("role", "button");
    this.#describe(place);
  }

  #describe(place) {
    this.boards.get(place).path.setAttribute("aria-label", this.labelOf(place));
  }

  focus(place, preventScroll = false) {
    this.#setStop(place);
    this.focused = place;
    this.boards.get(place).path.focus({ preventScroll });
  }

  /** Draw the ring around a board; none if null. */
  point(place) {
    const board = place === null ? null : this.boards.get(place);
    this.ring.setAttribute("d", board ? hexagon(board.middle, 1.04) : "");
  }

  /** Move from a board by an arrow key; null if there is none that way. */
  step(place, arrow) {
    const { cell: [column, row] } = this.boards.get(place);
    const ways = {
      ArrowUp: [[0, 2], [0, 4], [0, 6]],
      ArrowDown: [[0, -2], [0, -4], [0, -6]],
      ArrowRight: column % 2 ? [[1, 1], [1, -1], [2, 0]] : [[1, -1], [1, 1], [2, 0]],
      ArrowLeft: column % 2 ? [[-1, 1], [-1, -1], [-2, 0]] : [[-1, -1], [-1, 1], [-2, 0]],
    }[arrow];
    for (const [dc, dr] of ways) {
      const target = boardAt([column + dc, row + dr]);
      if (Number.isInteger(target[0]) && this.boards.has(key(...target))) return key(...target);
    }
    return null;
  }
}
