// The live page: asks /api/state once a second and listens to /api/results. Whatever comes from
// data reaches the document as text (text nodes, properties of elements), never as markup.
"use strict";

const STATE_MS = 1000;
const CARD_MS = 900; // a result stays at least so long, so that one can look at it
const KEPT = 60;
const ROWS = 12;
const LANES = 64;
const COLOURS = 8;

const page = new URLSearchParams(location.search);
const $ = (id) => document.getElementById(id);

// -- small things -----------------------------------------------------------------------------

function url(path, query = {}) {
  const fields = new URLSearchParams(query);
  if (page.has("token")) fields.set("token", page.get("token"));
  const text = fields.toString();
  return text ? `${path}?${text}` : path;
}

function el(tag, kind, ...children) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Text of foreign make: its direction stays inside. */
const data = (text) => el("bdi", "", String(text));

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const known = (value) => value !== null && value !== undefined;

function count(value) {
  if (!known(value)) return "–";
  if (Math.abs(value) < 1e5) return Math.round(value).toLocaleString("en");
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

function perSecond(value) {
  if (!known(value)) return "–";
  return value < 10 && value !== 0 ? value.toFixed(1) : count(value);
}

function bytes(value) {
  if (!known(value)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) [value, at] = [value / 1000, at + 1];
  return `${value.toFixed(at && value < 100 ? 1 : 0)} ${units[at]}`;
}

function seconds(value) {
  if (!known(value)) return "–";
  if (value < 0.001) return "< 1 ms";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 100) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86400)} d`;
}

function clockTime(ms, fraction = false) {
  const time = new Date(ms);
  if (Number.isNaN(time.getTime())) return "–";
  const text = time.toLocaleTimeString("en-GB");
  return fraction ? `${text}.${String(time.getMilliseconds()).padStart(3, "0")}` : text;
}

function fullTime(ms) {
  const time = new Date(ms);
  return Number.isNaN(time.getTime()) ? "–" : time.toISOString();
}

function bar(kind, share) {
  const fill = el("i");
  fill.style.width = `${100 * Math.min(Math.max(share || 0, 0), 1)}%`;
  return el("div", kind, fill);
}

/** Label and value pairs into a list, element by element, so that a selection in it survives. */
function facts(list, pairs) {
  while (list.children.length > 2 * pairs.length) list.lastChild.remove();
  while (list.children.length < 2 * pairs.length) list.append(el("dt"), el("dd"));
  pairs.forEach(([label, value, kind], at) => {
    put(list.children[2 * at], label);
    put(list.children[2 * at + 1], value);
    list.children[2 * at + 1].className = kind || "";
  });
}

// -- the run ----------------------------------------------------------------------------------

let state = null;
let lostAt = null;
let stageColour = new Map();
const colourOf = (stage) => `s${(stageColour.get(stage) ?? COLOURS - 1) % COLOURS}`;

async function askState() {
  try {
    const answer = await fetch(url("api/state"), { signal: AbortSignal.timeout(8000), cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()).slice(0, 200));
    const next = await answer.json();
    lostAt = null;
    const otherRun = state && (state.started !== next.started || state.model !== next.model);
    state = next;
    if (otherRun) forgetResults();
    showState();
  } catch (error) {
    lostAt = lostAt ?? Date.now();
    showLost(error);
  }
  setTimeout(askState, STATE_MS);
}

function showLost(error) {
  const since = seconds(Math.max(0.001, (Date.now() - lostAt) / 1000));
  const silent = error instanceof TypeError || error.name === "TimeoutError";
  const why = silent ? "" : ` (${error.message})`;
  document.body.classList.toggle("stale", state !== null);
  $("trouble").hidden = false;
  put($("trouble"), `No answer from the pipeline${why} for ${since}. Asking again every second.`);
  $("ready").className = "ready gone";
  put($("ready"), "no answer");
}

function showState() {
  document.body.classList.remove("stale");
  $("trouble").hidden = true;
  document.title = `${state.name} · motet`;
  put($("name"), state.name);
  $("ready").className = state.ready ? "ready yes" : "ready";
  put($("ready"), state.ready ? "running" : "not ready");
  const host = { local: "in one process", ray: "on Ray" }[state.host] ?? "";
  const since = state.started ? `since ${clockTime(Date.parse(state.started))}` : "";
  const waiting = state.ready ? "" : state.not_ready;
  put($("about"), [host, since, waiting].filter(Boolean).join(", "));
  put($("model"), state.model);
  stageColour = new Map(state.stages.map((stage, at) => [stage.name, at]));
  showTotals();
  showFlow();
  showStreams();
  showLanes();
  showSlots();
  $("warned").hidden = state.warnings.length === 0;
  const lines = $("warnings");
  while (lines.children.length > state.warnings.length) lines.lastChild.remove();
  while (lines.children.length < state.warnings.length) lines.append(el("li"));
  state.warnings.forEach((words, at) => put(lines.children[at], words));
}

function lagOf(run) {
  const found = run.inputs.map((input) => input.lag_records).filter(known);
  return found.length ? found.reduce((sum, lag) => sum + lag, 0) : null;
}

function showTotals() {
  const { totals, rates, latency, restarts, spans } = state;
  const restarted = restarts.reduce((sum, one) => sum + one.count, 0);
  const minute = `of the last ${seconds(spans.quantiles_seconds)}`;
  const tiles = [
    ["Results", count(totals.windows), `${perSecond(rates.windows_per_second)} a second`],
    ["Records", count(totals.records), `${perSecond(rates.records_per_second)} a second`],
    ["Latency p50", seconds(latency.p50_seconds), minute],
    ["Latency p99", seconds(latency.p99_seconds), minute],
    ["Lag", count(lagOf(state)), "records to be read"],
    ["Late", count(totals.fates.late), "came after their window"],
    ["Dead letters", count(totals.fates.dead_letter), "could not be used"],
    ["Restarts", count(restarted), restarts.map((one) => `${one.role}: ${one.cause}`).join(", ") || "of actors"],
  ];
  const list = $("totals");
  if (list.children.length !== tiles.length) {
    list.replaceChildren(...tiles.map(() => el("div", "", el("dt"), el("dd", "", el("span"), el("small")))));
  }
  tiles.forEach(([label, value, more], at) => {
    const [name, shown] = list.children[at].children;
    put(name, label);
    put(shown.children[0], value);
    put(shown.children[1], more);
  });
}

// -- dataflow ---------------------------------------------------------------------------------

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

function node(key, kind, title, subtitle) {
  const parts = { rate: el("div", "rate"), facts: el("dl", "facts"), extra: el("div") };
  const head = el("h4", "", data(title), el("span", "", data(subtitle)));
  parts.root = el("div", `node ${kind}`, head, parts.rate, parts.facts, parts.extra);
  nodes.set(key, parts);
  return parts.root;
}

function buildFlow() {
  const { inputs, stages, fusion, outputs } = state;
  nodes = new Map();
  const depth = depths(stages);
  const columns = [["Inputs", inputs.map((one) => node(`in ${one.name}`, "input", one.name, one.kind))]];
  for (let level = 1; level <= Math.max(...depth.values()); level += 1) {
    const own = stages.filter((stage) => depth.get(stage.name) === level);
    const made = own.map((one) => node(`stage ${one.name}`, `stage ${colourOf(one.name)}`, one.name, one.encoder));
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

function showFlow() {
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
  drawWires();
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

function showStage(one) {
  const parts = nodes.get(`stage ${one.name}`);
  showRate(parts.rate, perSecond(one.windows_per_second), "windows a second");
  const devices = new Map();
  one.replicas.forEach(({ device }) => devices.set(device, (devices.get(device) ?? 0) + 1));
  const placed = [...devices].map(([device, number]) => `${number} on ${device}`).join(", ");
  facts(parts.facts, [
    ["replicas", placed || "–"],
    ["batch", known(one.batch_size) ? one.batch_size.toFixed(1) : "–"],
    ["queue", seconds(one.queue.p50_seconds)],
    ["compute", seconds(one.compute.p50_seconds)],
    ["busy", known(one.busy_ratio) ? `${Math.round(100 * one.busy_ratio)} %` : "–"],
  ]);
  parts.extra.replaceChildren(bar("meter", one.busy_ratio));
}

function showFusion() {
  const parts = nodes.get("fusion");
  showRate(parts.rate, perSecond(state.rates.windows_per_second), "windows a second");
  const weights = Object.entries(state.fusion.weights);
  const sum = weights.reduce((total, [, weight]) => total + weight, 0);
  facts(parts.facts, [
    ["normalised", state.fusion.normalize],
    ...weights.map(([name, weight]) => [name, String(weight)]),
    ["commit", seconds(state.commit.p50_seconds)],
  ]);
  parts.extra.replaceChildren(mix(weights.map(([name, weight]) => [name, weight / sum])));
}

function mix(shares) {
  const made = el("div", "mix");
  shares.forEach(([name, share]) => {
    const piece = el("i", colourOf(name));
    piece.style.width = `${100 * Math.max(share, 0)}%`;
    piece.title = `${name}: ${Math.round(100 * share)} %`;
    made.append(piece);
  });
  return made;
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
    path.setAttribute("class", state && flowsFrom(from) ? "flows" : "");
  });
}

function flowsFrom(key) {
  const [kind, ...rest] = key.split(" ");
  if (kind === "fusion") return state.rates.windows_per_second > 0;
  if (kind === "in") return state.inputs.find((one) => one.name === rest.join(" ")).records_per_second > 0;
  return state.stages.find((one) => one.name === rest.join(" ")).windows_per_second > 0;
}

// -- lanes and slots --------------------------------------------------------------------------

function table(target, head, rows, more) {
  const cell = (tag, [text, kind]) => {
    const made = el(tag, kind || "", text);
    if (tag === "th") made.scope = "col";
    return made;
  };
  const body = rows.map((row) => el("tr", "", ...row.map((one) => cell("td", one))));
  if (more > 0) body.push(el("tr", "", el("td", "quiet", `and ${count(more)} more`)));
  target.replaceChildren(
    el("thead", "", el("tr", "", ...head.map((one) => cell("th", one)))),
    el("tbody", "", ...body),
  );
}

function showLanes() {
  const names = state.inputs.map((one) => one.name);
  const head = [["lane", "number"], ["slot", "number"], ["open windows", "number"],
    ...names.map((name) => [`${name}: read / end`, "number"]), ["lag", "number"], ["waits for", "words"]];
  const rows = state.lanes.slice(0, LANES).map((lane) => [
    [String(lane.lane), "number"], [String(lane.slot), "number"], [count(lane.open_windows), "number"],
    ...names.map((name) => [`${count(lane.positions[name])} / ${known(lane.ends[name]) ? count(lane.ends[name]) : "?"}`, "number"]),
    [count(lane.lag_records), "number"], [(lane.waiting ?? "").replace(/^waiting for /, ""), "words"],
  ]);
  table($("lanes"), head, rows, state.lanes.length - rows.length);
}

function showSlots() {
  const names = state.inputs.map((one) => one.name);
  const head = [["slot", "number"], ["lanes", ""], ["in flight", "number"], ["open", "number"],
    ...names.map((name) => [`clock of ${name}`, "number"])];
  const rows = state.slots.slice(0, LANES).map((slot) => [
    [String(slot.slot), "number"], [slot.lanes.slice(0, 16).join(", ") + (slot.lanes.length > 16 ? " ..." : ""), ""],
    [bytes(slot.in_flight_bytes), "number"], [bytes(slot.open_bytes), "number"],
    ...names.map((name) => [known(slot.clocks[name]) ? clockTime(slot.clocks[name] * 1000, true) : "–", "number"]),
  ]);
  table($("slots"), head, rows, state.slots.length - rows.length);
}

// -- results ----------------------------------------------------------------------------------

let events = null;
let stream = page.get("stream") ?? "";
let choseStream = page.has("stream");
let results = []; // the newest first
let ids = new Set();
let live = true;
let shownId = null;
let shownAt = 0;
let drawing = null;

function forgetResults() {
  results = [];
  ids = new Set();
  shownId = null;
  draw();
}

function listen() {
  if (events) events.close();
  const query = { last: "30" };
  if (stream) query.stream = stream;
  const opened = new EventSource(url("api/results", query));
  events = opened;
  put($("feed"), "connecting");
  opened.onopen = () => put($("feed"), "");
  opened.onmessage = (message) => take(message.data, message.lastEventId);
  opened.addEventListener("problem", (message) => put($("feed"), message.data));
  opened.addEventListener("dropped", (message) => put($("feed"), message.data));
  opened.onerror = () => {
    put($("feed"), "connecting again");
    if (opened.readyState === EventSource.CLOSED && events === opened) {
      setTimeout(() => events === opened && listen(), 2000); // refused: the browser gives up
    }
  };
}

function take(text, id) {
  let result;
  try {
    result = JSON.parse(text);
  } catch {
    return; // a record of another make in the topic
  }
  if (!result || !result.window || typeof result.stream !== "string" || ids.has(id)) return;
  put($("feed"), "");
  ids.add(id);
  results.unshift({ id, result });
  results.splice(KEPT).forEach((old) => ids.delete(old.id));
  if (!choseStream) {
    chooseStream(result.stream); // one stream is calmer to look at than all at once
    return;
  }
  draw();
}

function chooseStream(name) {
  choseStream = true;
  stream = name;
  live = true;
  forgetResults();
  showStreams();
  listen();
}

function showStreams() {
  const names = [...new Set([...(state ? state.streams : []), ...(stream ? [stream] : [])])].sort();
  const select = $("stream");
  const shown = [...select.options].slice(1).map((option) => option.value);
  if (names.length !== shown.length || names.some((name, at) => name !== shown[at])) {
    const options = names.map((name) => new Option(name.length > 60 ? `${name.slice(0, 60)}...` : name, name));
    options.forEach((option) => { option.dir = "auto"; });
    select.replaceChildren(select.options[0], ...options);
  }
  if (select.value !== stream) select.value = stream;
}

function draw() {
  if (drawing !== null) return;
  const wait = live && shownId !== null ? Math.max(60, shownAt + CARD_MS - Date.now()) : 0;
  drawing = setTimeout(() => {
    drawing = null;
    const newest = results[0];
    if (live && newest && newest.id !== shownId) showCard(newest);
    showList();
  }, wait);
}

function showList() {
  const body = $("newest");
  const focused = document.activeElement?.closest?.("#newest tr")?.dataset.id;
  const rows = results.slice(0, ROWS).map(({ id, result }) => {
    const choose = el("button", "", clockTime(result.window.start_us / 1000));
    choose.type = "button";
    choose.title = fullTime(result.window.start_us / 1000);
    choose.addEventListener("click", () => pin(id));
    const missing = result.missing ?? [];
    const inputs = missing.length ? el("span", "some", `no ${missing.join(", ")}`) : `all ${(result.present ?? []).length}`;
    const name = el("td", "", data(result.stream));
    name.title = result.stream;
    const row = el("tr", id === shownId ? "chosen" : "", el("td", "", choose), name, el("td", "", inputs),
      el("td", "", mix(positiveShares(result.attribution ?? {}))));
    row.dataset.id = id;
    return row;
  });
  body.replaceChildren(...rows);
  body.closest("table").classList.toggle("one", stream !== "");
  if (focused !== undefined) rows.find((row) => row.dataset.id === focused)?.querySelector("button").focus();
}

function positiveShares(attribution) {
  const place = (name) => stageColour.get(name) ?? Infinity;
  const parts = Object.entries(attribution)
    .map(([name, share]) => [name, Math.max(share, 0)])
    .sort(([a], [b]) => place(a) - place(b));
  const sum = parts.reduce((total, [, share]) => total + share, 0);
  return sum > 0 ? parts.map(([name, share]) => [name, share / sum]) : [];
}

function pin(id) {
  const chosen = results.find((one) => one.id === id);
  if (!chosen) return;
  setLive(false);
  showCard(chosen);
  showList();
}

function setLive(on) {
  live = on;
  $("live").setAttribute("aria-pressed", String(on));
  put($("live"), on ? "Live" : "Held: go live");
  if (on) draw();
}

function showCard({ id, result }) {
  shownId = id;
  shownAt = Date.now();
  const { window: span } = result;
  const length = (span.end_us - span.start_us) / 1e6;
  const when = `${fullTime(span.start_us / 1000)}, ${length} s`;
  const before = new Map([...document.querySelectorAll("#card .tile")].map((tile) => [tile.dataset.input, tile]));
  const tiles = (state ? state.inputs : []).map((input) => tile(input, result, before.get(input.name)));
  $("card").replaceChildren(
    el("h3", "", data(result.stream)), el("p", "when", when),
    el("div", "media", ...tiles), partsOf(result), ...given(result),
  );
}

/** The input's media in the window; the picture of before stays until the next one is there. */
function tile(input, result, before) {
  const coverage = result.coverage?.[input.name];
  const covered = known(coverage) && coverage < 0.9995 ? `${Math.round(100 * coverage)} % covered` : "";
  const caption = el("figcaption", "", data(input.name), el("span", "", covered));
  const frame = el("div", "frame");
  const kinds = { audio: "tile sound", text: "tile text" };
  const made = el("figure", kinds[input.kind] ?? "tile", caption, frame);
  made.dataset.input = input.name;
  if (!(result.present ?? []).includes(input.name)) {
    made.classList.add("missing");
    frame.append("missing");
    return made;
  }
  const old = before && !before.classList.contains("missing") ? before.querySelector(".frame > *") : null;
  if (old) frame.append(old);
  const query = { stream: result.stream, start_us: String(result.window.start_us), input: input.name };
  const source = url("api/media", query);
  const nothing = () => frame.replaceChildren(el("span", "quiet", "not found"));
  if (input.kind === "text") showWords(source, frame, nothing);
  else showPicture(source, frame, nothing, `${input.name} of ${result.stream}`);
  return made;
}

function showPicture(source, frame, nothing, words) {
  const image = new Image();
  image.alt = words;
  image.onload = () => frame.replaceChildren(image);
  image.onerror = nothing;
  image.src = source;
}

async function showWords(source, frame, nothing) {
  try {
    const answer = await fetch(source, { signal: AbortSignal.timeout(15000) });
    if (!answer.ok) return nothing();
    const words = el("p", "words", (await answer.text()).slice(0, 4000));
    words.dir = "auto";
    frame.replaceChildren(words);
  } catch {
    nothing();
  }
}

function gauge(kind, share, text) {
  return el("div", `gauge ${kind}`, bar("track", share), el("b", "", text));
}

function partsOf(result) {
  const { weights = {}, attribution = {}, failed = {} } = result;
  const fused = state ? Object.keys(state.fusion.weights) : Object.keys(weights);
  const names = [...new Set([...fused, ...Object.keys(weights), ...Object.keys(failed)])];
  const rows = names.map((name) => {
    const head = el("th", "", el("span", "swatch"), data(name));
    head.scope = "row";
    const row = el("tr", colourOf(name), head);
    if (failed[name] !== undefined) {
      const cell = el("td", "failed", `failed: ${failed[name]}`);
      cell.colSpan = 2;
      row.append(cell);
    } else if (weights[name] === undefined) {
      const cell = el("td", "absent", "nothing to say: its inputs are missing");
      cell.colSpan = 2;
      row.append(cell);
    } else {
      const share = attribution[name] ?? 0;
      row.append(el("td", "", gauge("under", weights[name] / weightMax(weights), weights[name].toFixed(2))));
      row.append(el("td", "", gauge("", Math.abs(share), `${Math.round(100 * share)} %`)));
    }
    return row;
  });
  const head = ["stage", "weight", "attribution"].map((name) => el("th", "", name));
  head.forEach((one) => { one.scope = "col"; });
  return el("table", "parts", el("thead", "", el("tr", "", ...head)), el("tbody", "", ...rows));
}

const weightMax = (weights) => Math.max(1, ...Object.values(weights));

function given(result) {
  const made = [];
  const { output = {}, text = {}, data: found = {} } = result;
  if ("label" in output) {
    const scores = Object.entries(output.scores ?? {}).sort((a, b) => b[1] - a[1]).slice(0, 6);
    made.push(block("label", el("div", "label", data(output.label ?? "none: not sure enough")),
      ...scores.map(([label, score]) => el("div", "s0", data(label), gauge("", score, score.toFixed(2))))));
  } else if (Array.isArray(output.vector)) {
    made.push(block(`fused vector, ${output.vector.length} numbers`, strip(output.vector)));
  } else {
    made.push(block("fused vector", el("span", "quiet", "none: no stage gave one")));
  }
  Object.entries(text).forEach(([name, words]) => made.push(block(name, el("p", "", data(words)))));
  Object.entries(found).forEach(([name, value]) => {
    made.push(block(name, el("pre", "", JSON.stringify(value, null, 1).slice(0, 4000))));
  });
  return made;
}

const block = (title, ...children) => el("div", "given", el("h4", "", data(title)), ...children);

/** A vector as cells: blue above zero, orange below, the stronger the farther from it. */
function strip(vector) {
  const canvas = el("canvas");
  canvas.width = Math.min(vector.length, 2048) || 1;
  canvas.height = 1;
  const paint = canvas.getContext("2d");
  const most = Math.max(...vector.slice(0, 2048).map(Math.abs), 1e-12);
  vector.slice(0, 2048).forEach((value, at) => {
    const strength = Math.sqrt(Math.abs(value) / most);
    paint.fillStyle = value >= 0 ? `rgba(64, 130, 230, ${strength})` : `rgba(226, 110, 40, ${strength})`;
    paint.fillRect(at, 0, 1, 1);
  });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `a vector of ${vector.length} numbers`);
  return canvas;
}

// -- begin ------------------------------------------------------------------------------------

$("to-metrics").href = url("metrics");
$("to-state").href = url("api/state");
$("live").addEventListener("click", () => setLive(!live));
$("stream").addEventListener("change", (change) => chooseStream(change.target.value));
new ResizeObserver(() => nodes.size && drawWires()).observe($("columns"));
askState().then(listen);
