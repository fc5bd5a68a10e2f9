// One result: its media by input, what each stage had to say, and what came of it.
import { $, bar, colourOf, data, dateAndTime, el, fullTime, known, url } from "./elements.js";

export function showCard(result, { inputs, fusion }) {
  const { window: span } = result;
  const length = (span.end_us - span.start_us) / 1e6;
  const when = el("p", "when", `${dateAndTime(span.start_us / 1000)}, ${length} s`);
  when.title = fullTime(span.start_us / 1000);
  const before = new Map([...document.querySelectorAll("#card .tile")].map((tile) => [tile.dataset.input, tile]));
  const tiles = inputs.map((input) => tile(input, result, before.get(input.name)));
  $("card").replaceChildren(
    el("h3", "", data(result.stream)), when,
    el("div", "media", ...tiles), partsOf(result, fusion), ...given(result),
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

function partsOf(result, fusion) {
  const { weights = {}, attribution = {}, failed = {} } = result;
  const names = [...new Set([...Object.keys(fusion.weights), ...Object.keys(weights), ...Object.keys(failed)])];
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

function gauge(kind, share, text) {
  return el("div", `gauge ${kind}`, bar("track", share), el("b", "", text));
}

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
