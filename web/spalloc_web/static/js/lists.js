// The queue and the table of jobs.

import { link } from "./start.js";
import { asked, expected, jobState, moment, span } from "./words.js";

const make = (name, text = "", className = "") => {
  const made = document.createElement(name);
  if (text !== "") made.textContent = text;
  if (className) made.className = className;
  return made;
};

const jobLink = (jobId) => {
  const made = make("a", String(jobId));
  made.href = link("jobs", jobId);
  return made;
};

function swatch(job) {
  const made = make("span", job.letter ?? "", `swatch${job.colour === null ? "" : ` c${job.colour}`}`);
  made.dataset.job = job.job_id;
  return made;
}

/** Draw the queue into a list. */
export function drawQueue(list, store, wanted) {
  const rows = store.queue
    .map((waiting) => [waiting, store.jobs.get(waiting.job_id)])
    .filter(([, job]) => !wanted.owner || (job?.owner ?? "").includes(wanted.owner))
    .filter(([waiting]) => !wanted.machine || waiting.machines.some((m) => m.name === wanted.machine));
  list.replaceChildren(...rows.map(([waiting, job]) => queueItem(waiting, job, store)));
  const none = list.parentElement.querySelector(".none");
  none.hidden = rows.length > 0;
}

function queueItem(waiting, job, store) {
  const item = make("li");
  item.dataset.waiting = waiting.job_id;
  const head = make("p", "", "head");
  head.append(make("span", waiting.position === null ? "–" : `${waiting.position}.`, "position"));
  const name = make("span", "job ");
  name.append(jobLink(waiting.job_id));
  head.append(name);
  if (job) {
    head.append(make("span", asked(job.args)));
    if (job.owner) head.append(make("span", job.owner, "owner"));
    if (job.created !== null) {
      const since = make("span", `waits ${span(store.now() - job.created)}`, "since");
      since.dataset.since = job.created;
      since.dataset.before = "waits ";
      head.append(since);
    }
  }
  item.append(head);
  const several = waiting.machines.length > 1;
  for (const { name: machine, why, until } of waiting.machines) {
    if (!why) continue;
    const text = `${several ? `${machine}: ` : ""}${why}${until ? ` (until ${moment(until)})` : ""}`;
    item.append(make("p", text, "why"));
  }
  const outlook = expected(waiting.expected);
  if (outlook) item.append(make("p", outlook, "expected"));
  return item;
}

/** Columns of the table of jobs: name, what it is sorted by, and the cell. */
const COLUMNS = {
  job: [(job) => job.job_id, (job) => jobLink(job.job_id)],
  state: [(job) => job.state, (job) => jobState(job.state)],
  boards: [(job) => job.boards, (job) => (job.boards ? String(job.boards) : "–")],
  asked: [(job) => job.args.join(), (job) => asked(job.args)],
  machine: [(job) => job.machine ?? "", (job) => job.machine ?? "–"],
  created: [(job) => job.created ?? 0, (job) => moment(job.created)],
  owner: [(job) => job.owner ?? "", (job) => (job.owner ? ownerLink(job.owner) : "–")],
  host: [(job) => job.host ?? "", (job) => job.host || "–"],
};

function ownerLink(owner) {
  const made = make("a", owner);
  made.href = link("owners", owner);
  return made;
}

export const isColumn = (name) => Object.hasOwn(COLUMNS, name);

/** Draw the table of jobs: filtered and sorted as wanted. */
export function drawJobs(table, store, wanted) {
  const [name, backwards] = wanted.sort.startsWith("-") ? [wanted.sort.slice(1), true] : [wanted.sort, false];
  const [rank] = COLUMNS[name];
  const jobs = [...store.jobs.values()]
    .filter((job) => !wanted.machine || job.machine === wanted.machine)
    .filter((job) => !wanted.owner || (job.owner ?? "").includes(wanted.owner));
  jobs.sort((a, b) => {
    const [p, q] = [rank(a), rank(b)];
    const order = p < q ? -1 : Number(p > q);
    return (backwards ? -order : order) || a.job_id - b.job_id;
  });
  const columns = [...table.querySelectorAll("thead th[data-column]")].map((th) => {
    const mine = th.dataset.column === name;
    th.setAttribute("aria-sort", mine ? (backwards ? "descending" : "ascending") : "none");
    return th.dataset.column;
  });
  const body = table.tBodies[0];
  body.replaceChildren(...jobs.map((job) => jobRow(job, columns, wanted.job)));
  table.parentElement.querySelector(".none").hidden = jobs.length > 0;
}

function jobRow(job, columns, chosen) {
  const row = make("tr");
  row.dataset.jobRow = job.job_id;
  if (job.job_id === chosen) row.className = "chosen";
  const mark = make("td", "", "mark");
  mark.append(swatch(job));
  row.append(mark);
  for (const column of columns) {
    const cell = make("td", "", `col-${column}`);
    cell.append(COLUMNS[column][1](job));
    row.append(cell);
  }
  return row;
}
