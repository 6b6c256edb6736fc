// Charts of the usage page, drawn from its own tables.

import uPlot from "../vendor/uplot/uPlot.js";
import { start } from "./start.js";
import { span } from "./words.js";

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const COLOURS = ["--c0", "--c1", "--c5", "--c3", "--c2", "--c4", "--c6", "--c7"];
const DASHES = [[], [6, 3], [2, 3], [10, 3, 2, 3]];

/** Steps of an axis of waits, in seconds: whole minutes, hours and days. */
const WAIT_STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400,
  172800, 432000, 864000, 8640000];

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });

const axes = (format, steps) => [
  {
    stroke: style("--quiet"),
    grid: { stroke: style("--line"), width: 1 },
    values: (_, ticks) => ticks.map((tick) => day.format(new Date(tick * 1000))),
    incrs: [1, 2, 3, 7, 14, 28, 91, 182, 364].map((days) => days * 86400),
  },
  {
    stroke: style("--quiet"),
    grid: { stroke: style("--line"), width: 1 },
    size: 80,
    values: (_, ticks) => ticks.map(format),
    ...(steps ? { incrs: steps } : {}),
  },
];

function sized(element, options, data) {
  const size = () => ({ width: element.clientWidth, height: element.clientHeight - 34 });
  const plot = new uPlot({ ...size(), ...options }, data, element);
  new ResizeObserver(() => plot.setSize(size())).observe(element);
}

const number = (text) => (text === undefined || text === "" ? null : Number(text));
const percent = (value) => (value === null ? "–" : `${Math.round(value * 100)} %`);
const wait = (value) => (value === null ? "–" : span(value));

function lines(element, columns, format, steps) {
  const rows = [...document.querySelectorAll("#days tbody tr[data-day]")];
  const days = [...new Set(rows.map((row) => row.dataset.day))].sort();
  const machines = [...new Set(rows.map((row) => row.dataset.machine))];
  if (!days.length) return;
  const series = [{ label: "Day", value: (_, value) => (value === null ? "–" : day.format(new Date(value * 1000))) }];
  const data = [days.map((day) => Date.parse(`${day}T00:00Z`) / 1000)];
  machines.forEach((machine, i) => columns.forEach(([column, suffix], j) => {
    const values = new Map(rows.filter((row) => row.dataset.machine === machine)
      .map((row) => [row.dataset.day, number(row.dataset[column])]));
    data.push(days.map((day) => values.get(day) ?? null));
    series.push({
      label: machine + suffix,
      stroke: style(COLOURS[i % COLOURS.length]),
      width: 2,
      dash: DASHES[(columns.length > 1 ? j : i) % DASHES.length],
      points: { show: days.length < 40 },
      value: (_, value) => format(value ?? null),
    });
  }));
  const scales = { y: { range: (_, low, high) => [0, Math.max(high ?? 1, 0.01) * 1.05] } };
  sized(element, { series, axes: axes(format, steps), scales, tzDate: (t) => uPlot.tzDate(new Date(t * 1e3), "Etc/UTC") }, data);
}

function bars(element, selector, label) {
  const rows = [...document.querySelectorAll(selector)].slice(0, 20);
  if (!rows.length) return;
  const names = rows.map((row) => row.dataset.key);
  const places = names.map((_, place) => place);
  const [first, second] = axes((value) => String(value));
  const short = (name) => (name && name.length > 14 ? `${name.slice(0, 13)}…` : name ?? "");
  sized(element, {
    scales: { x: { time: false, range: [-0.7, names.length - 0.3] }, y: { range: (_, low, high) => [0, (high || 1) * 1.05] } },
    axes: [{ ...first, incrs: [1], splits: () => places, values: (_, ticks) => ticks.map((tick) => short(names[tick])), rotate: names.length > 5 ? -30 : 0, size: names.length > 5 ? 80 : 40, grid: { show: false } }, second],
    series: [
      { label: "", value: (_, value) => names[value] ?? "–" },
      { label, stroke: style("--accent"), fill: style("--c0"), paths: uPlot.paths.bars({ size: [0.7, 60] }), points: { show: false } },
    ],
  }, [places, rows.map((row) => Number(row.dataset.value))]);
}

const charts = {
  utilisation: (element) => lines(element, [["utilisation", ""]], percent),
  waits: (element) => lines(element, [["median", ", median"], ["p95", ", 95 %"]], wait, WAIT_STEPS),
  owners: (element) => bars(element, ".owner-rows tbody tr[data-key]", "board-hours"),
  faults: (element) => bars(element, "#fault-rows tbody tr[data-key]", "faults"),
};
for (const element of document.querySelectorAll("[data-chart]")) charts[element.dataset.chart](element);
start();
