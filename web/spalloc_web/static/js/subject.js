// Pages of one machine, board or job: a live map, and facts fetched anew when they change.

import { Maps } from "./maps.js";
import { base, link, start, store } from "./start.js";
import { localTimes } from "./times.js";

const subject = document.querySelector("[data-subject]");
const jobId = subject.dataset.markJob ? Number(subject.dataset.markJob) : null;
const board = subject.dataset.markBoard ?? null;

const maps = new Maps(store, base, (picked) => {
  location.href = picked.job === null || picked.job === jobId
    ? link("machines", picked.machine, "boards", ...picked.board.split(","))
    : link("jobs", picked.job);
});

let asking = false;
let again = false;

/** Fetch this page anew and put its facts in place of the old ones. */
async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (response.ok) replace(new DOMParser().parseFromString(await response.text(), "text/html"));
  } catch {
    // The status line says that the pages do not answer.
  }
  setTimeout(() => {
    asking = false;
    if (again) {
      again = false;
      refresh();
    }
  }, 1000);
}

function replace(page) {
  const fresh = page.querySelector("[data-fresh]");
  const old = subject.querySelector("[data-fresh]");
  if (!fresh || !old) return;
  localTimes(fresh);
  if (fresh.innerHTML !== old.innerHTML) old.replaceChildren(...fresh.childNodes);
  // A job that got boards has a map now.
  const shown = Boolean(document.querySelector("svg.map[data-machine]"));
  if (shown !== Boolean(page.querySelector("svg.map[data-machine]"))) location.reload();
}

let known = "";
let first = true;

/** What the page shows of its subject, as text to compare. */
function now() {
  if (jobId !== null) {
    const waiting = store.queue.find((each) => each.job_id === jobId);
    return JSON.stringify([store.jobs.get(jobId), waiting]);
  }
  if (board) {
    const svg = document.querySelector("svg.map[data-machine]");
    return JSON.stringify(store.machines.get(svg.dataset.machine)?.boards.get(board));
  }
  return "";
}

store.onChange(() => {
  maps.mark({ job: jobId, state: null, board });
  if (board) for (const map of maps.maps.values()) map.point(board);
  const text = now();
  if (text !== known && !first) refresh();
  known = text;
  first = false;
});
localTimes(document);
start();
