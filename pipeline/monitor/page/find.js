// Search what the newest results say; a hit opens to its media, with its sound to be played.
import { tile } from "./card.js";
import { $, count, data, dateAndTime, el, fullTime, put, url } from "./elements.js";

const AGAIN_MS = 300; // the newest texts are compared first: the others follow
const QUESTION_MAX = 500;

let state = null;
let asked = 0; // the number of the newest question: answers to others are dropped

const box = el("input");
const submit = el("button", "", "Find");
const said = el("p", "quiet note");
const hits = el("ol", "hits");

/** Told the state of every second; the section is made with the first. */
export function showFind(next) {
  if (state === null) make();
  state = next;
}

function make() {
  const heading = el("h2", "", "Find");
  heading.id = "find-h";
  box.type = "search";
  box.maxLength = QUESTION_MAX;
  box.setAttribute("aria-label", "What was said, seen or answered");
  box.placeholder = "what was said, seen or answered";
  box.addEventListener("keydown", (key) => key.key === "Enter" && ask());
  submit.type = "button";
  submit.addEventListener("click", ask);
  said.setAttribute("role", "status");
  $("find").replaceChildren(el("div", "bar", heading, box, submit), said, hits);
  $("find").hidden = false;
}

function ask() {
  const question = box.value.trim();
  asked += 1;
  if (!question) {
    put(said, "");
    hits.replaceChildren();
    return;
  }
  put(said, "searching");
  answer(question, asked);
}

async function answer(question, number) {
  let found;
  try {
    const answered = await fetch(url("api/find", { text: question }), { signal: AbortSignal.timeout(30000) });
    if (!answered.ok) throw new Error((await answered.text()).slice(0, 200));
    found = await answered.json();
  } catch (error) {
    if (number === asked) put(said, `No answer: ${error.message}`);
    return;
  }
  if (number !== asked) return;
  show(found);
  if (found.pending > 0) setTimeout(() => number === asked && answer(question, number), AGAIN_MS);
}

function show(found) {
  const way = found.by === "words" ? "by words" : "by meaning";
  const words = [
    found.hits.length ? "" : "nothing found",
    `${count(found.results)} of the newest results searched ${way}`,
    found.without ? `(for meaning: ${found.without})` : "",
    found.pending > 0 ? `${count(found.pending)} texts are still to be compared` : "",
  ];
  put(said, words.filter(Boolean).join("; "));
  const open = new Set([...hits.querySelectorAll("li[data-open]")].map((row) => row.dataset.id));
  const shown = new Map([...hits.children].map((row) => [row.dataset.id, row]));
  hits.replaceChildren(...found.hits.map((hit) => (open.has(hit.result_id) ? shown.get(hit.result_id) : hitRow(hit))));
}

function hitRow(hit) {
  const when = el("span", "quiet", dateAndTime(hit.start_us / 1000));
  when.title = fullTime(hit.start_us / 1000);
  const more = hit.windows > 1 ? el("span", "quiet", `and ${count(hit.windows - 1)} more`) : null;
  const source = hit.kind === "label" ? "label" : hit.source;
  const summary = el("summary", "",
    el("b", "score", hit.score.toFixed(2)), el("span", "snippet", data(hit.snippet)),
    el("span", "quiet", data(hit.stream)), when, el("span", "quiet", data(source)), more);
  const opened = el("details", "", summary);
  const row = el("li", "", opened);
  row.dataset.id = hit.result_id;
  opened.addEventListener("toggle", () => {
    row.toggleAttribute("data-open", opened.open);
    if (opened.open && opened.children.length === 1) opened.append(media(hit.result));
  });
  return row;
}

/** What the window was made of; sound can be heard. */
function media(result) {
  const tiles = state.inputs.map((input) => {
    const made = tile(input, result, undefined, undefined);
    if (input.kind === "audio" && (result.present ?? []).includes(input.name)) made.append(player(input, result));
    return made;
  });
  return el("div", "media", ...tiles);
}

function player(input, result) {
  const query = { stream: result.stream, start_us: String(result.window.start_us), input: input.name, as: "sound" };
  const sound = el("audio");
  sound.controls = true;
  sound.preload = "none";
  sound.setAttribute("aria-label", `sound of ${input.name}`);
  sound.src = url("api/media", query);
  return sound;
}
