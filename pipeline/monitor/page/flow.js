// The dataflow: a column of nodes for each step from the inputs to the outputs, and what flows between.
import { $, bar, bytes, clockTime, colourOf, count, data, el, facts, known, mix, perSecond, put, seconds } from "./elements.js";

let state = null;
let flowKey = "";
let nodes = new Map();
let edges = [];

function depths(stages) {
  const found = new Map();
  const depth = (name) => {
    const stage = stages.find((one) => one.name === name);
    if (!stage) return 0;
    if (!found.has(name)) found.set(name, 1 + Math.max(...stage.of.map(depth)));
    return found.get(name);
  };
  stages.forEach((stage) => depth(stage.name));
  return found;
}

function node(key, kind, title, subtitle, id) {
  const parts = { rate: el("div", "rate"), facts: el("dl", "facts"), extra: el("div"), badge: el("p", "badge") };
  const head = el("h4", "", data(title), el("span", "", data(subtitle)));
  parts.root = el("div", `node ${kind}`, head, parts.badge, parts.rate, parts.facts, parts.extra);
  parts.kind = parts.root.className;
  parts.badge.hidden = true;
  if (id) [parts.root.id, parts.root.tabIndex] = [id, -1]; // for who comes by a link
  nodes.set(key, parts);
  return parts.root;
}

function buildFlow() {
  const { inputs, stages, fusion, outputs } = state;
  nodes = new Map();
  const depth = depths(stages);
  const columns = [["Inputs", inputs.map((one, at) => node(`in ${one.name}`, "input", one.name, one.kind, `input-${at}`))]];
  for (let level = 1; level <= Math.max(...depth.values()); level += 1) {
    const own = stages.filter((stage) => depth.get(stage.name) === level);
    const made = own.map((one) => node(`stage ${one.name}`, `stage ${colourOf(one.name)}`, one.name, one.encoder, `stage-${stages.indexOf(one)}`));
    columns.push([level === 1 ? "Stages" : "Stages that read stages", made]);
  }
  columns.push(["Fusion", [node("fusion", "fusion", fusion.rule, known(fusion.dim) ? `dim ${fusion.dim}` : "")]]);
  columns.push(["Outputs", outputs.map((one) => node(`out ${one.role}`, "output", one.role.replace("_", " "), ""))]);
  $("columns").replaceChildren(
    ...columns.map(([title, made]) => el("div", "column", el("h3", "", title), ...made)),
  );
  const source = (name) => (inputs.some((one) => one.name === name) ? `in ${name}` : `stage ${name}`);
  edges = [
    ...stages.flatMap((stage) => stage.of.map((name) => [source(name), `stage ${stage.name}`])),
    ...Object.keys(fusion.weights).map((name) => [`stage ${name}`, "fusion"]),
    ["fusion", "out results"],
    ...stages.filter((stage) => stage.out).map((stage) => [`stage ${stage.name}`, `out ${stage.name}`]),
  ].map(([from, to]) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    return { from, to, path };
  });
  $("wires").replaceChildren(...edges.map((edge) => edge.path));
}

export function showFlow(next) {
  state = next;
  const { inputs, stages, fusion, outputs } = state;
  const key = JSON.stringify([inputs.map((one) => one.name), stages.map((one) => [one.name, one.of]), outputs.map((one) => one.role), fusion]);
  if (key !== flowKey) {
    flowKey = key;
    buildFlow();
  }
  inputs.forEach(showInput);
  stages.forEach(showStage);
  showFusion();
  outputs.forEach((one) => {
    const parts = nodes.get(`out ${one.role}`);
    showRate(parts.rate, perSecond(one.per_second), "a second");
    parts.rate.hidden = !known(one.per_second);
    facts(parts.facts, [["topic", one.topic, "long"]]);
  });
  showTroubles();
  drawWires();
}

const BADGES = { stage: "bottleneck", decode: "bottleneck: decoding", failing: "fails", drift: "drifts", "no-replica": "no replica", behind: "bottleneck" };

/** A word at the stages that the verdict is about. */
function showTroubles() {
  const troubles = state.answers?.verdict.troubles ?? [];
  nodes.forEach((parts, key) => {
    const one = troubles.find(({ at }) => at && key === `${at.kind === "input" ? "in" : at.kind} ${at.name}`);
    parts.badge.hidden = !one;
    put(parts.badge, one ? BADGES[one.cause] ?? "see above" : "");
    parts.root.className = one ? `${parts.kind} ${one.level}` : parts.kind;
  });
}

function showRate(element, number, unit) {
  if (!element.firstChild) element.append(el("span"), el("small"));
  put(element.children[0], number);
  put(element.children[1], ` ${unit}`);
}

function showInput(one) {
  const parts = nodes.get(`in ${one.name}`);
  showRate(parts.rate, perSecond(one.records_per_second), `a second, ${bytes(one.bytes_per_second)}/s`);
  const behind = one.event_time_lag_seconds;
  const rows = [
    ["topic", one.topic, "long"],
    ["lag", count(one.lag_records), one.lag_records > 1000 ? "bad" : ""],
    ["clock", known(one.clock_seconds) ? clockTime(one.clock_seconds * 1000) : "–"],
    ["behind", known(behind) ? seconds(Math.max(behind, 0)) : "–"],
  ];
  if (!one.gating) rows.push(["gating", "no"]);
  if (one.fates.late) rows.push(["late", count(one.fates.late), "bad"]);
  if (one.fates.dead_letter) rows.push(["dead letters", count(one.fates.dead_letter), "bad"]);
  facts(parts.facts, rows);
}

/** Bounds, what is under way, and what keeps it from what it needs; nothing where it is fixed. */
function scalingOf(scaling) {
  if (!scaling || scaling.min === scaling.max) return [];
  const { min, max, wanted, starting, draining, limit } = scaling;
  const doing = [starting ? `, ${starting} starting` : "", draining ? `, ${draining} draining` : ""].join("");
  const rows = [["scaled", `to ${wanted} of ${min} to ${max}${doing}`]];
  if (limit) rows.push(["limit", limit, "bad"]);
  return rows;
}

function showStage(one) {
  const parts = nodes.get(`stage ${one.name}`);
  showRate(parts.rate, perSecond(one.windows_per_second), "windows a second");
  const devices = new Map();
  one.replicas.forEach(({ device }) => devices.set(device, (devices.get(device) ?? 0) + 1));
  const placed = [...devices].map(([device, number]) => `${number} on ${device}`).join(", ");
  facts(parts.facts, [
    ["replicas", placed || "–"],
    ...scalingOf(one.scaling),
    ["batch", known(one.batch_size) ? `${one.batch_size.toFixed(1)} of ${one.batch_max}` : "–"],
    ["queue", `${count(one.queue_windows)}, ${seconds(one.queue.p50_seconds)}`],
    ["compute", seconds(one.compute.p50_seconds)],
    ["busy", known(one.busy_ratio) ? `${Math.round(100 * one.busy_ratio)} %` : "–"],
  ]);
  parts.extra.replaceChildren(bar("meter", one.busy_ratio));
}

function headOf(head) {
  if (!head) return [];
  const named = head.sha256 ? `${head.sha256.slice(0, 12)} ${head.kind}` : "none yet";
  return [["head", head.everywhere ? named : `${named}, taking over`, head.trouble ? "bad" : ""]];
}

function showFusion() {
  const parts = nodes.get("fusion");
  showRate(parts.rate, perSecond(state.rates.windows_per_second), "windows a second");
  const weights = Object.entries(state.fusion.weights);
  const sum = weights.reduce((total, [, weight]) => total + weight, 0);
  facts(parts.facts, [
    ...headOf(state.fusion.head),
    ["normalised", state.fusion.normalize],
    ...weights.map(([name, weight]) => [name, String(weight)]),
    ["commit", seconds(state.commit.p50_seconds)],
    ["committed", count(state.totals.commits.committed)],
    ...(state.totals.commits.retried ? [["tried again", count(state.totals.commits.retried), "bad"]] : []),
  ]);
  parts.extra.replaceChildren(mix(weights.map(([name, weight]) => [name, weight / sum])));
}

function drawWires() {
  const frame = $("flow").getBoundingClientRect();
  const upright = getComputedStyle($("columns")).flexDirection === "column";
  edges.forEach(({ from, to, path }) => {
    const a = nodes.get(from).root.getBoundingClientRect();
    const b = nodes.get(to).root.getBoundingClientRect();
    const [x1, y1, x2, y2] = upright
      ? [a.left + a.width / 2, a.bottom, b.left + b.width / 2, b.top]
      : [a.right, a.top + a.height / 2, b.left, b.top + b.height / 2];
    const [left, top] = [frame.left, frame.top];
    const bend = upright ? (y2 - y1) / 2 : (x2 - x1) / 2;
    const [cx1, cy1, cx2, cy2] = upright ? [x1, y1 + bend, x2, y2 - bend] : [x1 + bend, y1, x2 - bend, y2];
    path.setAttribute("d", `M${x1 - left},${y1 - top} C${cx1 - left},${cy1 - top} ${cx2 - left},${cy2 - top} ${x2 - left},${y2 - top}`);
    path.setAttribute("class", flowsFrom(from) ? "flows" : "");
  });
}

function flowsFrom(key) {
  const [kind, ...rest] = key.split(" ");
  if (kind === "fusion") return state.rates.windows_per_second > 0;
  if (kind === "in") return state.inputs.find((one) => one.name === rest.join(" ")).records_per_second > 0;
  return state.stages.find((one) => one.name === rest.join(" ")).windows_per_second > 0;
}

new ResizeObserver(() => nodes.size && drawWires()).observe($("columns"));
