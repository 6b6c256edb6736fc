// What is known of a board, in lines; for the tooltip and for screen readers.

import { STATES, moment, stateOf } from "./words.js";

/** Asks once for a machine's places (cabinet, frame, position, address). */
export class Places {
  constructor(base) {
    this.base = base;
    this.asked = new Map();
    this.known = new Map();
  }

  /** Ask anew: machines have changed. */
  forget() {
    this.asked.clear();
    this.known.clear();
  }

  ask(name) {
    if (!this.asked.has(name)) {
      const address = `${this.base}/api/v1/machines/${encodeURIComponent(name)}/places`;
      const answer = fetch(address)
        .then((response) => (response.ok ? response.json() : Promise.reject(response.status)))
        .then((rows) => {
          this.known.set(name, new Map(rows.map((row) => [row.board.join(","), row])));
          return rows;
        })
        .catch(() => {
          // Asked again at the next look: the server may be away.
          this.asked.delete(name);
          return [];
        });
      this.asked.set(name, answer);
    }
    return this.asked.get(name);
  }

  of(name, place) {
    return this.known.get(name)?.get(place) ?? null;
  }
}

/** Lines about a board: [label, text] pairs. */
export function about(store, places, name, place) {
  const row = store.machines.get(name)?.boards.get(place);
  if (!row) return [];
  const [x, y, z, word, jobId, text] = row;
  const where = places.of(name, place);
  const job = jobId === null ? null : store.jobs.get(jobId);
  const lines = [["Board", `(${x}, ${y}, ${z})`]];
  if (where) {
    lines.push(["Place", `cabinet ${where.cabinet}, frame ${where.frame}, board ${where.position}`]);
    if (where.address) lines.push(["Address", where.address]);
  }
  lines.push(["State", STATES[stateOf(word)].word + (Object.hasOwn(STATES, word) ? "" : ` (${word})`)]);
  if (text) lines.push(["", text]);
  if (jobId !== null) {
    lines.push(["Job", `${jobId}${job?.letter ? ` · ${job.letter}` : ""}`]);
    if (job?.owner) lines.push(["Owner", job.owner]);
    if (job) {
      const since = job.ready ?? job.allocated;
      if (since !== null) lines.push(["Since", moment(since)]);
      else lines.push(["Created", moment(job.created)]);
    }
  }
  return lines;
}

export const inWords = (lines) => lines.map(([label, text]) => `${label} ${text}`.trim()).join(", ");
