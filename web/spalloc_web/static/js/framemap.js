// The map of a machine too large for a hexagon per board: one shape per frame.

import { STEPS, boardAt, cellOf, edge, hexagon, key, middleOf } from "./geometry.js";
import { stateOf } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

export class FrameMap {
  /**
   * @param svg element to draw in
   * @param store what is known
   * @param name of the machine
   * @param places rows of the machine's places, as from the server
   */
  constructor(svg, store, name, places) {
    this.svg = svg;
    this.store = store;
    this.name = name;
    this.frames = new Map();
    this.frameOf = new Map();
    this.selected = { job: null, state: null, board: null };
    for (const { board, cabinet, frame } of places) {
      const word = `${cabinet},${frame}`;
      if (!this.frames.has(word)) this.frames.set(word, { boards: [] });
      this.frames.get(word).boards.push(key(...board));
      this.frameOf.set(key(...board), word);
    }
    this.build();
  }

  get machine() {
    return this.store.machines.get(this.name);
  }

  build() {
    const group = document.createElementNS(SVG, "g");
    for (const [word, frame] of this.frames) {
      let path = "";
      for (const place of frame.boards) {
        path += hexagon(middleOf(cellOf(...place.split(",").map(Number))), 1.01);
      }
      frame.path = document.createElementNS(SVG, "path");
      frame.path.setAttribute("d", path);
      frame.path.setAttribute("data-frame", word);
      group.append(frame.path);
      this.#paint(word);
    }
    const lines = document.createElementNS(SVG, "path");
    lines.setAttribute("class", "frame-lines");
    lines.setAttribute("d", this.#lines());
    this.svg.replaceChildren(group, lines);
    this.svg.dataset.frames = this.frames.size;
    const first = this.frames.keys().next().value;
    if (first !== undefined) this.#setStop(first);
  }

  /** The lines between frames. */
  #lines() {
    let path = "";
    for (const [place, word] of this.frameOf) {
      const cell = cellOf(...place.split(",").map(Number));
      for (let link = 0; link < 6; link += 1) {
        const beside = key(...boardAt([cell[0] + STEPS[link][0], cell[1] + STEPS[link][1]]));
        const other = this.frameOf.get(beside);
        // Each line between two frames once.
        if (other !== word && (link < 3 || other === undefined)) path += edge(middleOf(cell), link);
      }
    }
    return path;
  }

  update(rows) {
    const touched = new Set();
    for (const row of rows) touched.add(this.frameOf.get(key(row[0], row[1], row[2])));
    touched.delete(undefined);
    for (const word of touched) this.#paint(word);
    this.mark(this.selected);
  }

  updateJobs() {}

  /** How many of a frame's boards are in which state. */
  counts(word) {
    const counts = {};
    for (const place of this.frames.get(word).boards) {
      const state = stateOf(this.machine.boards.get(place)?.[3] ?? "dead");
      counts[state] = (counts[state] ?? 0) + 1;
    }
    return counts;
  }

  #paint(word) {
    const { path, boards } = this.frames.get(word);
    const counts = this.counts(word);
    const bad = (counts.out ?? 0) + (counts.unknown ?? 0) + (counts.dead ?? 0);
    const used = (counts.used ?? 0) + (counts.draining ?? 0);
    const share = boards.length === bad ? 0 : used / (boards.length - bad);
    const level = Math.ceil(share * 4);
    const silent = (counts.unknown ?? 0) * 2 > boards.length;
    const ill = silent ? " silent" : bad * 2 > boards.length ? " ill" : "";
    path.setAttribute("class", `frame u${level}${ill}`);
  }

  mark(selected) {
    this.selected = selected;
    const { job, state } = selected;
    this.svg.classList.toggle("dimmed", job !== null || state !== null);
    for (const [word, { path, boards }] of this.frames) {
      const picked = boards.some((place) => {
        const row = this.machine.boards.get(place);
        return row && (job !== null ? row[4] === job : stateOf(row[3]) === state);
      });
      path.classList.toggle("picked", picked && (job !== null || state !== null), word);
    }
  }

  measure() {}

  point() {}

  #setStop(word) {
    const old = this.frames.get(this.stop)?.path;
    for (const attribute of ["tabindex", "role", "aria-label"]) old?.removeAttribute(attribute);
    this.stop = word;
    const { path, boards } = this.frames.get(word);
    path.setAttribute("tabindex", "0");
    path.setAttribute("role", "button");
    const [cabinet, frame] = word.split(",");
    path.setAttribute("aria-label", `Cabinet ${cabinet}, frame ${frame}: ${boards.length} boards`);
  }

  /** Move to the next or previous frame by an arrow key. */
  stepFrame(arrow) {
    const words = [...this.frames.keys()];
    const step = arrow === "ArrowRight" || arrow === "ArrowDown" ? 1 : -1;
    const word = words[(words.indexOf(this.stop) + step + words.length) % words.length];
    this.#setStop(word);
    this.frames.get(word).path.focus();
    return word;
  }
}
