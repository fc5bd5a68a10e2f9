// One result: its media by input, what each stage had to say, and what came of it.
import { $, colourOf, data, dateAndTime, el, fullTime, gauge, known, url } from "./elements.js";
import { boxes, facesIn, findings } from "./findings.js";

export function showCard(result, { inputs, stages, fusion }) {
  const { window: span } = result;
  const length = (span.end_us - span.start_us) / 1e6;
  const when = el("p", "when", `${dateAndTime(span.start_us / 1000)}, ${length} s`);
  when.title = fullTime(span.start_us / 1000);
  const before = new Map([...document.querySelectorAll("#card .tile")].map((tile) => [tile.dataset.input, tile]));
  const tiles = inputs.map((input) => tile(input, result, before.get(input.name), facesIn(result, input.name, stages)));
  $("card").replaceChildren(
    el("h3", "", data(result.stream)), when,
    el("div", "media", ...tiles), ...labelOf(result), el("div", "findings", ...findings(result, stages)),
    partsOf(result, fusion), ...vectorOf(result),
  );
}

/**
 * The input's media in the window; the picture of before stays until the next one is there.
 * Where a stage found faces, it is the frame that they were found in.
 */
export function tile(input, result, before, seen) {
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
  if (before && !before.classList.contains("missing")) frame.append(...before.querySelector(".frame").childNodes);
  const at_us = seen?.time_us ?? result.window.start_us;
  const query = { stream: result.stream, start_us: String(at_us), input: input.name };
  const source = url("api/media", query);
  const nothing = () => frame.replaceChildren(el("span", "quiet", "not found"));
  if (input.kind === "text") showWords(source, frame, nothing);
  else showPicture(source, frame, nothing, `${input.name} of ${result.stream}`, seen ? [boxes(seen)] : []);
  return made;
}

function showPicture(source, frame, nothing, words, over) {
  const image = new Image();
  image.alt = words;
  image.onload = () => frame.replaceChildren(image, ...over);
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

function labelOf({ output = {} }) {
  if (!("label" in output)) return [];
  const scores = Object.entries(output.scores ?? {}).sort((a, b) => b[1] - a[1]).slice(0, 6);
  return [block("label", el("div", "label", data(output.label ?? "none: not sure enough")),
    ...scores.map(([label, score]) => el("div", "scored s0", el("span", "", data(label)), gauge("", score, score.toFixed(2)))))];
}

function vectorOf({ output = {} }) {
  if ("label" in output) return [];
  if (!Array.isArray(output.vector)) return [block("fused vector", el("span", "quiet", "none: no stage gave one"))];
  return [block(`fused vector, ${output.vector.length} numbers`, strip(output.vector))];
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
