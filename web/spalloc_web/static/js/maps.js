// All maps of a page: draws them, keeps them current, and lets people point at boards.

import { Places, about, inWords } from "./about.js";
import { FrameMap } from "./framemap.js";
import { HexMap } from "./map.js";
import { Tooltip } from "./tooltip.js";

/** Machines with more boards than this are drawn by frames. */
const MOST_HEXAGONS = 12000;

export class Maps {
  /**
   * @param store what is known
   * @param base what stands before all paths
   * @param onPick called with {machine, board, job} when a board is chosen
   */
  constructor(store, base, onPick) {
    this.store = store;
    this.places = new Places(base);
    this.onPick = onPick;
    this.maps = new Map();
    this.tooltip = new Tooltip();
    this.selected = { job: null, state: null, board: null };
    this.pointed = null;
    store.onChange((change) => this.#change(change));
  }

  #change(change) {
    if (change.whole) this.#build();
    else {
      const jobIds = change.jobs.map((job) => job.job_id);
      for (const map of this.maps.values()) map.updateJobs(jobIds);
      for (const [name, rows] of Object.entries(change.boards)) this.maps.get(name)?.update(rows);
    }
    if (this.pointed) this.#show(this.pointed);
    if (this.inset) this.inset.build();
  }

  #build() {
    this.maps.clear();
    this.places.forget();
    for (const svg of document.querySelectorAll("svg.map[data-machine]")) {
      const name = svg.dataset.machine;
      const machine = this.store.machines.get(name);
      if (!machine) continue;
      if (machine.boards.size > MOST_HEXAGONS) this.#buildFrames(svg, name);
      else this.#buildBoards(svg, name);
    }
  }

  #buildBoards(svg, name) {
    const labelOf = (place) => inWords(about(this.store, this.places, name, place));
    const map = new HexMap(svg, this.store, name, { labelOf });
    this.maps.set(name, map);
    map.mark(this.selected);
    this.#listen(svg, map, name);
  }

  async #buildFrames(svg, name) {
    const note = svg.parentElement.querySelector(".asking") ?? document.createElement("p");
    note.className = "asking quiet";
    note.textContent = "Asking the server where the boards are …";
    svg.before(note);
    const rows = await this.places.ask(name);
    if (!rows.length) {
      note.textContent = "The server does not tell now where the boards are.";
      setTimeout(() => this.store.machines.has(name) && this.#buildFrames(svg, name), 3000);
      return;
    }
    note.remove();
    const map = new FrameMap(svg, this.store, name, rows);
    this.maps.set(name, map);
    map.mark(this.selected);
    if (svg.dataset.listening) return;
    svg.dataset.listening = "yes";
    const open = (target) => {
      const word = target.closest?.("[data-frame]")?.dataset.frame;
      if (word) this.#openFrame(name, word);
    };
    svg.addEventListener("click", (event) => open(event.target));
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") open(event.target);
      else if (event.key.startsWith("Arrow")) this.maps.get(name).stepFrame(event.key);
      else return;
      event.preventDefault();
    });
    svg.addEventListener("pointerover", (event) => {
      const word = event.target.dataset?.frame;
      if (word) this.tooltip.show(this.#aboutFrame(name, word), event.target.getBoundingClientRect());
    });
    svg.addEventListener("pointerleave", () => this.tooltip.hide());
  }

  #aboutFrame(name, word) {
    const [cabinet, frame] = word.split(",");
    const counts = this.maps.get(name).counts(word);
    return [
      ["Frame", `cabinet ${cabinet}, frame ${frame}`],
      ...Object.entries(counts).map(([state, count]) => [state, String(count)]),
    ];
  }

  #openFrame(name, word) {
    const dialog = document.getElementById("frame");
    const svg = dialog.querySelector("svg");
    const [cabinet, frame] = word.split(",");
    dialog.querySelector("h2").textContent = `${name}: cabinet ${cabinet}, frame ${frame}`;
    const only = new Set(this.maps.get(name).frames.get(word).boards);
    const labelOf = (place) => inWords(about(this.store, this.places, name, place));
    dialog.showModal();
    this.inset = new HexMap(svg, this.store, name, { only, labelOf });
    this.#listen(svg, this.inset, name);
    dialog.addEventListener("close", () => { this.inset = null; }, { once: true });
  }

  #listen(svg, map, name) {
    svg.hexmap = { map, name };
    if (svg.dataset.listening) return;
    svg.dataset.listening = "yes";
    const placeOf = (event) => event.target.closest?.("[data-board]")?.dataset.board ?? null;
    svg.addEventListener("pointerover", (event) => this.#point(svg, placeOf(event)));
    svg.addEventListener("pointerleave", () => this.#point(svg, null));
    svg.addEventListener("focusin", (event) => this.#point(svg, placeOf(event)));
    svg.addEventListener("focusout", () => this.#point(svg, null));
    svg.addEventListener("click", (event) => this.#pick(svg, placeOf(event)));
    svg.addEventListener("keydown", (event) => this.#key(svg, event, placeOf(event)));
    svg.addEventListener("pointerenter", () => this.places.ask(svg.hexmap.name));
    svg.addEventListener("focusin", () => this.places.ask(svg.hexmap.name));
  }

  #key(svg, event, place) {
    if (!place) return;
    if (event.key === "Enter" || event.key === " ") this.#pick(svg, place);
    else if (event.key.startsWith("Arrow")) {
      const next = svg.hexmap.map.step(place, event.key);
      if (next) svg.hexmap.map.focus(next);
    } else return;
    event.preventDefault();
  }

  #point(svg, place) {
    const { map, name } = svg.hexmap;
    map.point(place);
    this.pointed = place ? { svg, map, name, place } : null;
    if (!place) this.tooltip.hide();
    else {
      this.#show(this.pointed);
      if (!this.places.known.has(name)) {
        this.places.ask(name).then(() => this.pointed?.place === place && this.#show(this.pointed));
      }
    }
  }

  #show({ map, name, place }) {
    const path = map.boards.get(place)?.path;
    if (!path) return;
    this.tooltip.show(about(this.store, this.places, name, place), path.getBoundingClientRect());
  }

  #pick(svg, place) {
    if (!place) return;
    const { map, name } = svg.hexmap;
    const row = this.store.machines.get(name).boards.get(place);
    map.focus(place, true);
    document.getElementById("frame")?.close();
    this.onPick({ machine: name, board: place, job: row[4] });
  }

  /** Make a job or state stand out on all maps. */
  mark(selected) {
    this.selected = selected;
    for (const map of this.maps.values()) map.mark(selected);
  }
}
