// Times written by the server in UTC, rewritten in the reader's own zone.

import { moment } from "./words.js";

export function localTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const seconds = Date.parse(element.dateTime) / 1000;
    if (!Number.isNaN(seconds)) {
      element.textContent = moment(seconds);
      element.title = element.dateTime;
    }
  }
}
