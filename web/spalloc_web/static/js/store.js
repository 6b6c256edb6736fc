// What the page knows: machines, jobs, queue and status, kept current by frames.

import { key } from "./geometry.js";

function keepMachine(shown) {
  const boards = new Map();
  for (const row of shown.boards) boards.set(key(row[0], row[1], row[2]), row);
  return { ...shown, boards };
}

export class Store {
  constructor() {
    this.n = 0;
    this.status = null;
    this.machines = new Map();
    this.jobs = new Map();
    this.queue = [];
    this.listeners = [];
    /** Whether all of this is from before a restart of spalloc-web. */
    this.old = false;
    /** Seconds that the server's clock is ahead of this computer's. */
    this.skew = 0;
  }

  /** Have a function called with each change: {whole, machines, boards, jobs, queue, status}. */
  onChange(listener) {
    this.listeners.push(listener);
  }

  now() {
    return Date.now() / 1000 + this.skew;
  }

  /** Take a frame; false if it does not follow from what is known. */
  take(frame) {
    if (frame.kind === "whole") this.#takeWhole(frame);
    else if (frame.kind !== "changes" || frame.base !== this.n) return false;
    else this.#takeChanges(frame);
    return true;
  }

  #takeStatus(status) {
    if (!status) return;
    this.status = status;
    this.skew = status.now - Date.now() / 1000;
  }

  #takeWhole(frame) {
    this.n = frame.n;
    this.#takeStatus(frame.status);
    if (frame.status.version === null && this.machines.size) {
      // spalloc-web has begun anew and not seen the server yet: what is shown stays, as old.
      this.old = true;
      this.#tell({ whole: false, jobs: [], goneJobs: [], boards: {}, queue: false });
      return;
    }
    this.old = false;
    this.machines = new Map(frame.machines.map((shown) => [shown.name, keepMachine(shown)]));
    this.jobs = new Map(frame.jobs.map((job) => [job.job_id, job]));
    this.queue = frame.queue;
    this.#tell({ whole: true, jobs: frame.jobs, goneJobs: [], boards: {}, queue: true });
  }

  #takeChanges(frame) {
    this.n = frame.n;
    this.#takeStatus(frame.status);
    if (this.old && frame.order) {
      this.jobs.clear();
      this.queue = [];
      this.old = false;
    }
    for (const job of frame.jobs ?? []) this.jobs.set(job.job_id, job);
    for (const jobId of frame.gone_jobs ?? []) this.jobs.delete(jobId);
    for (const shown of frame.machines ?? []) this.machines.set(shown.name, keepMachine(shown));
    for (const [name, rows] of Object.entries(frame.boards ?? {})) {
      const machine = this.machines.get(name);
      for (const row of rows) machine.boards.set(key(row[0], row[1], row[2]), row);
    }
    if (frame.order) {
      this.machines = new Map(frame.order.map((name) => [name, this.machines.get(name)]));
    }
    if (frame.queue) this.queue = frame.queue;
    this.#tell({
      whole: Boolean(frame.order || frame.machines?.length),
      jobs: frame.jobs ?? [],
      goneJobs: frame.gone_jobs ?? [],
      boards: frame.boards ?? {},
      queue: Boolean(frame.queue),
    });
  }

  #tell(change) {
    for (const listener of this.listeners) listener(change);
  }
}
