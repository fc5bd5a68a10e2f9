// The run's last hour as charts; its points are the server's, so a page that is loaded again has them.
import { $, clockTime, colourOf, count, el, perSecond, put, seconds, url } from "./elements.js";
import { Chart } from "./chart.js";

const SHOWN_MS = 900000; // of the hour, unless another span is chosen
const percent = (value) => `${Math.round(100 * value)} %`;

const charts = {
  latency: new Chart("Latency of results", seconds),
  windows: new Chart("Results a second", perSecond),
  records: new Chart("Records a second", perSecond),
  lag: new Chart("Records behind", count, 1),
  busy: new Chart("Busy share of stages", percent, 1),
  commit: new Chart("Length of a commit", seconds),
};

let points = [];
let marks = [];
let last = 0;
let span = SHOWN_MS;
let asking = null;

export function forgetHistory() {
  points = [];
  marks = [];
  last = 0;
  if (asking !== null) clearTimeout(asking);
  askHistory();
}

export async function askHistory() {
  let wait_ms = 5000;
  try {
    const answer = await fetch(url("api/history", { after: String(last) }), { signal: AbortSignal.timeout(8000), cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    const next = await answer.json();
    if (next.last < last) [points, marks, last] = [[], [], 0]; // another process
    else take(next);
    wait_ms = Math.max(1000, 1000 * next.step_seconds);
  } catch {
    // the state is asked for every second, and says that nobody answers
  }
  asking = setTimeout(askHistory, wait_ms);
}

function take(next) {
  const columns = { ...next.rates, ...prefixed("latency", next), ...prefixed("commit", next), ...prefixed("lag", next), ...prefixed("busy", next) };
  next.at_ms.forEach((at_ms, at) => {
    points.push({ at_ms, ...Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[at]])) });
  });
  points.splice(0, points.length - next.points_max);
  marks.push(...next.marks);
  marks.splice(0, marks.length - 100);
  last = next.last;
  draw();
}

const prefixed = (part, next) => Object.fromEntries(Object.entries(next[part]).map(([name, values]) => [`${part} ${name}`, values]));

function draw() {
  const from = (points.at(-1)?.at_ms ?? 0) - span;
  const shown = points.filter((point) => point.at_ms >= from);
  const times = shown.map((point) => point.at_ms);
  const line = (name, key, colour) => ({ name, colour, values: shown.map((point) => point[key] ?? null) });
  const named = (part) => [...new Set(shown.flatMap(Object.keys))].filter((key) => key.startsWith(`${part} `));
  const lines = {
    latency: [line("half within", "latency p50", "s0"), line("99 % within", "latency p99", "s1")],
    windows: [line("results", "windows", "s0")],
    records: [line("read", "records", "s0"), line("late", "late", "s6"), line("dead letters", "dead_letters", "s4")],
    lag: named("lag").map((key, at) => line(key.slice(4), key, `s${at % 8}`)),
    busy: named("busy").map((key) => line(key.slice(5), key, colourOf(key.slice(5)))),
    commit: [line("half within", "commit p50", "s0"), line("99 % within", "commit p99", "s1")],
  };
  Object.entries(lines).forEach(([name, series]) => charts[name].show(times, series, marks));
  $("charts-note").hidden = points.length > 1;
  const list = marks.slice(-5).reverse().map((mark) => `${clockTime(mark.at_ms)} ${mark.words}`);
  $("marks").hidden = list.length === 0;
  $("marks").replaceChildren(...list.map((words) => el("li", "", words)));
}

function choose(button) {
  span = Number(button.value) * 1000;
  document.querySelectorAll("#spans button").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
  draw();
}

$("charts").replaceChildren(...Object.values(charts).map((chart) => chart.root));
document.querySelectorAll("#spans button").forEach((button) => button.addEventListener("click", () => choose(button)));
put($("charts-note"), "The first points come within ten seconds.");
