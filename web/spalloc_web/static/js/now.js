// The first page: maps, counters, queue and jobs, live.

import * as address from "./address.js";
import { drawJobs, drawQueue, isColumn } from "./lists.js";
import { Maps } from "./maps.js";
import { selection } from "./selection.js";
import { base, start, store } from "./start.js";
import { STATES, span, stateOf } from "./words.js";

const queueList = document.getElementById("queue");
const jobTable = document.getElementById("jobs");
const form = document.getElementById("filters");

function choices() {
  const read = address.read();
  const sort = (read.sort ?? "job").replace(/^-/, "");
  return {
    machine: read.machine ?? "",
    owner: read.owner ?? "",
    state: Object.hasOwn(STATES, read.state ?? "") ? read.state : null,
    job: /^\d+$/.test(read.job ?? "") ? Number(read.job) : null,
    board: read.board ?? null,
    sort: isColumn(sort) ? read.sort ?? "job" : "job",
  };
}

let wanted = choices();
const maps = new Maps(store, base, ({ machine, board, job }) => {
  const again = job !== null && job === wanted.job;
  choose({ job: again ? null : job, board: job === null ? `${machine}:${board}` : null, state: null });
});

function choose(changes) {
  address.write(changes);
  wanted = choices();
  draw();
}

function draw() {
  maps.mark({ job: wanted.job, state: wanted.state, board: null });
  for (const button of document.querySelectorAll("#counters button")) {
    button.setAttribute("aria-pressed", String(button.dataset.state === wanted.state));
  }
  for (const card of document.querySelectorAll("[data-machine-card]")) {
    card.hidden = Boolean(wanted.machine) && card.dataset.machineCard !== wanted.machine;
  }
  drawLists();
  selection(store, maps.places, wanted);
}

let listsDue = false;

/** Draw the lists at most once per frame of the screen. */
function drawLists() {
  if (listsDue) return;
  listsDue = true;
  requestAnimationFrame(() => {
    listsDue = false;
    drawQueue(queueList, store, wanted);
    drawJobs(jobTable, store, wanted);
  });
}

function count() {
  const counts = Object.fromEntries(Object.keys(STATES).map((state) => [state, 0]));
  for (const [name, { boards }] of store.machines) {
    const mine = {};
    for (const row of boards.values()) {
      const state = stateOf(row[3]);
      counts[state] += 1;
      mine[state] = (mine[state] ?? 0) + 1;
    }
    const summary = document.querySelector(`[data-summary="${CSS.escape(name)}"]`);
    if (summary) {
      summary.textContent = `${boards.size} boards · ${mine.used ?? 0} used · ${mine.free ?? 0} free`;
    }
  }
  const queued = [...store.jobs.values()].filter((job) => job.state === "queued");
  const running = store.jobs.size - queued.length;
  const oldest = Math.min(...queued.map((job) => job.created ?? Infinity));
  for (const [state, value] of Object.entries(counts)) put(`count-${state}`, value);
  put("count-running", running);
  put("count-queued", queued.length);
  put("count-waits", queued.length ? span(store.now() - oldest) : "–");
}

function put(id, value) {
  const element = document.getElementById(id);
  if (element && element.textContent !== String(value)) element.textContent = value;
}

/** Machines that came or went change the page itself. */
function sameMachines() {
  const shown = [...document.querySelectorAll("svg.map[data-machine]")].map((svg) => svg.dataset.machine);
  const boxes = [...store.machines.values()].every((machine) => {
    const svg = document.querySelector(`svg.map[data-machine="${CSS.escape(machine.name)}"]`);
    return svg && svg.dataset.size === `${machine.width}x${machine.height}x${machine.boards.size}`;
  });
  return boxes && shown.length === store.machines.size;
}

store.onChange((change) => {
  if (change.whole && store.status.version && !sameMachines()) {
    location.reload();
    return;
  }
  count();
  if (change.whole || change.queue || change.jobs.length || change.goneJobs.length) drawLists();
  selection(store, maps.places, wanted);
});

document.getElementById("counters").addEventListener("click", (event) => {
  const state = event.target.closest("button")?.dataset.state;
  if (state) choose({ state: state === wanted.state ? null : state, job: null, board: null });
});
jobTable.tHead.addEventListener("click", (event) => {
  const column = event.target.closest("th")?.dataset.column;
  if (column) choose({ sort: wanted.sort === column ? `-${column}` : column });
});
form.addEventListener("input", () => {
  const values = Object.fromEntries(new FormData(form));
  choose({ machine: values.machine, owner: values.owner ?? null });
});
form.addEventListener("submit", (event) => event.preventDefault());
jobTable.addEventListener("pointerover", (event) => {
  const row = event.target.closest("[data-job-row]");
  maps.mark({ job: row ? Number(row.dataset.jobRow) : wanted.job, state: row ? null : wanted.state });
});
jobTable.addEventListener("pointerleave", () => maps.mark({ job: wanted.job, state: wanted.state }));
document.getElementById("unselect").addEventListener("click", () => {
  choose({ job: null, board: null, state: null });
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && (wanted.job !== null || wanted.state || wanted.board)) {
    choose({ job: null, board: null, state: null });
  }
});
for (const name of ["machine", "owner"]) {
  if (form.elements[name]) form.elements[name].value = wanted[name];
}
setInterval(() => {
  for (const element of document.querySelectorAll("[data-since]")) {
    element.textContent = `${element.dataset.before}${span(store.now() - Number(element.dataset.since))}`;
  }
  if (store.status) count();
}, 5000);
draw();
start();
