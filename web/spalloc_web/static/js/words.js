// Numbers, times and states in words.

/** States of a board, in the order of the pages, with the sign drawn on the map.
 *  No sign is a letter: letters are jobs.  The client's programs use the same. */
export const STATES = {
  used: { word: "used", sign: "" },
  free: { word: "free", sign: "" },
  reserved: { word: "reserved", sign: "+" },
  draining: { word: "draining", sign: "−" },
  resting: { word: "resting", sign: "~" },
  out: { word: "out of service", sign: "!" },
  unknown: { word: "not answering", sign: "?" },
  dead: { word: "dead", sign: "×" },
};

/** A word this page does not know is shown as out. */
export const stateOf = (word) => (Object.hasOwn(STATES, word) ? word : "out");

/** The state in which a board's row is drawn: a used board may be draining, its text tells. */
export const drawnState = ([, , , word, , text]) =>
  word === "used" && text?.startsWith("draining ") ? "draining" : stateOf(word);

const clockFormat = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
const dayFormat = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
  second: "2-digit", hourCycle: "h23",
});

/** A moment in the reader's own zone; with the day unless it is today. */
export function moment(seconds, now = Date.now()) {
  if (seconds === null || seconds === undefined) return "–";
  const date = new Date(seconds * 1000);
  const today = new Date(now).toDateString() === date.toDateString();
  return (today ? clockFormat : dayFormat).format(date);
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** A length of time in its two largest units. */
export function span(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  for (let i = 0; i < UNITS.length - 1; i += 1) {
    const [unit, size] = UNITS[i];
    const [finer, finerSize] = UNITS[i + 1];
    if (whole >= size) {
      // Seconds beside ten minutes and more are only restless.
      const rest = finerSize === 1 && whole >= 600 ? 0 : Math.floor((whole % size) / finerSize);
      return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${finer}` : ""}`;
    }
  }
  return `${whole} s`;
}

export const boards = (count) => (count === 1 ? "1 board" : `${count} boards`);

/** What a job asked for, given its positional arguments. */
export function asked(args) {
  const given = args.filter((value) => value !== null);
  if (given.length === 3) return `board (${given.join(", ")})`;
  if (given.length === 2) return `${given[0]} × ${given[1]} triads`;
  return boards(given.length ? given[0] : 1);
}

const JOB_STATES = { power: "switching power" };

export const jobState = (word) => JOB_STATES[word] ?? word;

/** When a waiting job may start, in words; empty if the server cannot tell. */
export function expected(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value;
  const [low, high] = Array.isArray(value)
    ? value
    : [value.low ?? value.from ?? value.least, value.high ?? value.until ?? value.most];
  if (typeof low !== "number" || typeof high !== "number") return "";
  return `similar requests waited ${span(low)} to ${span(high)} lately; not promised`;
}
