// What the stages found in a window: words, labels with scores, faces and people as such, all else as JSON.
// A stage may be anybody's class, so a shape is taken for what it is only where all of it fits.
import { colourOf, data, el, gauge, placeOf } from "./elements.js";

const LABELS_SHOWN = 6;
const SURE = 0.5; // a word with less is marked
const BOXED = { faces: ["face", "faces"], people: ["person", "people"] }; // boxes of what: one, and many
const SVG = "http://www.w3.org/2000/svg";

const number = Number.isFinite;
const listOf = (value, fits) => (Array.isArray(value) && value.every((one) => one && fits(one)) ? value : null);
const wordsOf = (value) => listOf(value?.words, (one) => typeof one.word === "string");
const labelsOf = (value) => listOf(value?.labels, (one) => typeof one.label === "string" && number(one.score));
const isBox = (one) =>
  ["time_us", "x", "y", "width", "height", "frame_width", "frame_height"].every((key) => number(one[key]));
const boxedIn = (value) => Object.keys(BOXED).find((key) => listOf(value?.[key], isBox));

/** A block for each stage that gave text or data, in the order of the file. */
export function findings({ text = {}, data: found = {}, window: span }, stages) {
  const names = [...new Set([...Object.keys(text), ...Object.keys(found)])];
  names.sort((a, b) => placeOf(a) - placeOf(b));
  return names.map((name) => {
    const encoder = stages.find((stage) => stage.name === name)?.encoder ?? "";
    const by = el("span", "by", data(encoder.split(":").pop()));
    const title = el("h4", "", el("span", "swatch"), data(name), " ", by);
    return el("div", `found ${colourOf(name)}`, title, ...told(text[name], found[name], span));
  });
}

function told(text, value, span) {
  const [words, labels, boxed] = [wordsOf(value), labelsOf(value), boxedIn(value)];
  if (words) return [words.length ? sentence(words, span) : el("p", "quiet", "no words")];
  const made = [];
  const named = Boolean(labels?.length) && labels[0].label === text; // the text is the first label
  if (text === "") made.push(el("p", "quiet", "no text"));
  else if (text !== undefined && !named) made.push(el("p", "text", data(text)));
  if (labels) made.push(...labels.slice(0, LABELS_SHOWN).map((one, at) => scored(one, named && at === 0)));
  else if (boxed) made.push(el("p", "", counted(value[boxed], value.frames, BOXED[boxed])));
  else if (value !== undefined) made.push(el("pre", "", JSON.stringify(value, null, 1).slice(0, 4000)));
  if (labels?.length === 0 && !text) made.push(el("p", "quiet", "no label"));
  return made;
}

/** Words as they were said, those that the recogniser was not sure of marked. */
function sentence(words, span) {
  const line = el("p", "said");
  line.dir = "auto";
  words.forEach(({ word, start_us: at, probability }) => {
    const one = el("span", number(probability) && probability < SURE ? "unsure" : "", word);
    const after = number(at) ? `${((at - span.start_us) / 1e6).toFixed(2)} s after the window's start` : "";
    one.title = [after, number(probability) ? `probability ${probability.toFixed(2)}` : ""].filter(Boolean).join(", ");
    line.append(one);
  });
  return line;
}

const scored = ({ label, score }, named) =>
  el("div", "scored", el("span", named ? "text" : "", data(label)), gauge("", Math.abs(score), score.toFixed(2)));

/** The same face is found in every frame that it is in: the most in one frame, and in how many. */
function counted(faces, frames, [one, several]) {
  const times = new Map();
  faces.forEach((face) => times.set(face.time_us, (times.get(face.time_us) ?? 0) + 1));
  const most = Math.max(0, ...times.values());
  const many = most === 1 ? `1 ${one}` : `${most || "no"} ${several}`;
  if (!number(frames)) return many;
  return `${many} in ${most ? `${times.size} of ` : ""}${frames} ${frames === 1 ? "frame" : "frames"}`;
}

/** The first frame of an input in which faces or people were found: when it begins, and where they are. */
export function facesIn(result, input, stages) {
  for (const stage of stages.filter((one) => one.of.includes(input))) {
    const found = result.data?.[stage.name];
    const faces = found?.[boxedIn(found)] ?? [];
    const first = faces.filter((face) => face.time_us === faces[0].time_us);
    if (first.length) return { time_us: first[0].time_us, faces: first, stage: stage.name };
  }
  return null;
}

/** Boxes that lie on their frame as ``object-fit: contain`` lays it. */
export function boxes({ faces, stage }) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("viewBox", `0 0 ${faces[0].frame_width} ${faces[0].frame_height}`);
  made.setAttribute("class", `boxes ${colourOf(stage)}`);
  made.setAttribute("aria-hidden", "true");
  for (const kind of ["halo", "line"]) {
    faces.forEach((face) => {
      const box = document.createElementNS(SVG, "rect");
      ["x", "y", "width", "height"].forEach((key) => box.setAttribute(key, String(face[key])));
      box.setAttribute("class", kind);
      made.append(box);
    });
  }
  return made;
}
