// The card that tells of the job or board that was clicked.

import { about } from "./about.js";
import { link } from "./start.js";
import { asked, boards, expected, jobState, moment, span } from "./words.js";

const title = document.getElementById("selection-title");
const list = document.getElementById("selection-list");
const more = document.getElementById("selection-more");
const clear = document.getElementById("unselect");

let drawn = "";

/** Draw the card; nothing is touched unless its words change. */
export function selection(store, places, wanted) {
  const { head, lines, address } = content(store, places, wanted);
  const words = JSON.stringify([head, lines, address]);
  if (words === drawn) return;
  drawn = words;
  title.textContent = head;
  list.replaceChildren(...lines.flatMap(([label, text]) => {
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = label;
    value.textContent = text;
    return [term, value];
  }));
  more.hidden = !address;
  if (address) more.href = address;
  clear.hidden = !wanted.job && !wanted.board && !wanted.state;
}

function content(store, places, wanted) {
  if (wanted.job !== null) return ofJob(store, wanted.job);
  if (wanted.board) {
    const at = wanted.board.lastIndexOf(":");
    const [name, place] = [wanted.board.slice(0, at), wanted.board.slice(at + 1)];
    const lines = about(store, places, name, place);
    if (lines.length) {
      const address = link("machines", name, "boards", ...place.split(","));
      return { head: `Board ${place} of ${name}`, lines: lines.slice(1), address };
    }
  }
  return {
    head: "Nothing selected",
    lines: [["", "Choose a board on a map to see it or its job here. With the keyboard: Tab to a"
      + " map, arrows to move, Enter to choose, Escape to let go."]],
    address: null,
  };
}

function ofJob(store, jobId) {
  const job = store.jobs.get(jobId);
  const address = link("jobs", jobId);
  if (!job) return { head: `Job ${jobId}`, lines: [["State", "ended, or unknown"]], address };
  const waiting = store.queue.find((each) => each.job_id === jobId);
  const lines = [["State", jobState(job.state)], ["Asked for", asked(job.args)]];
  if (job.boards) lines.push(["Has", `${boards(job.boards)} of ${job.machine}`]);
  if (job.owner) lines.push(["Owner", job.owner]);
  lines.push(["Created", moment(job.created)]);
  const since = job.ready ?? job.allocated;
  if (since !== null) lines.push(["Running since", moment(since)]);
  if (job.keepalive !== null) lines.push(["Ends", `${span(job.keepalive)} after its last sign of life`]);
  if (waiting) {
    lines.push(["In line", `${waiting.position ?? "–"}. (${waiting.ahead ?? "?"} ahead)`]);
    for (const { why } of waiting.machines) if (why) lines.push(["Waits", why]);
    const outlook = expected(waiting.expected);
    if (outlook) lines.push(["Outlook", outlook]);
  }
  return { head: `Job ${jobId}${job.letter ? ` · ${job.letter}` : ""}`, lines, address };
}
