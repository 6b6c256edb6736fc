// What every live page begins with: the store, the stream, and the line that tells of them.

import { StatusLine } from "./status.js";
import { Store } from "./store.js";
import { follow } from "./stream.js";

export const base = document.body.dataset.base;
export const store = new Store();

/** Begin to follow; call it after all listeners are there. */
export function start() {
  const line = new StatusLine(store);
  follow(`${base}/events`, store, (open) => line.stream(open));
}

/** An address below the base. */
export const link = (...parts) => `${base}/${parts.map(encodeURIComponent).join("/")}`;
