// The line that says whether the page is live, and if not, how old what it shows is.

import { moment } from "./words.js";

export class StatusLine {
  constructor(store) {
    this.store = store;
    this.line = document.getElementById("status");
    this.text = document.getElementById("status-text");
    this.message = document.getElementById("message");
    this.connected = null;
    this.lostAt = null;
    store.onChange(() => this.draw());
  }

  /** Take whether the stream is open. */
  stream(open) {
    if (open === this.connected) return;
    this.connected = open;
    this.lostAt = open ? null : Date.now() / 1000;
    this.draw();
  }

  draw() {
    const { status } = this.store;
    if (this.connected === false) {
      const last = status ? ` What you see is from ${moment(this.lostAt)}.` : "";
      this.#say("offline", `These pages do not answer since ${moment(this.lostAt)}.${last}`);
    } else if (status && status.away_since !== null) {
      const last = status.as_of === null ? "" : ` What you see is from ${moment(status.as_of)}.`;
      this.#say("away", `The server is away since ${moment(status.away_since)}.${last}`);
    } else if (status) {
      const closed = status.accepting === false ? " · takes no new jobs" : "";
      this.#say("live", `Live · ${status.server} · spalloc_server ${status.version}${closed}`);
    }
    if (status) {
      const notes = [status.message, ...status.notices].filter(Boolean).join(" · ");
      if (this.message.textContent !== notes) this.message.textContent = notes;
    }
  }

  #say(state, text) {
    if (this.line.dataset.state !== state) this.line.dataset.state = state;
    if (this.text.textContent !== text) this.text.textContent = text;
  }
}
