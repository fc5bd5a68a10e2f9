// The committed results of a stream as they come: the list of the newest, and which of them is shown.
import { showCard } from "./card.js";
import { $, clockTime, data, el, fullTime, mix, page, placeOf, put, url } from "./elements.js";
import { onStream, showStream } from "./streams.js";

const CARD_MS = 900; // a result stays at least so long, so that one can look at it
const KEPT = 60;
const ROWS = 12;

let state = null;
let events = null;
let stream = page.get("stream") ?? "";
let choseStream = page.has("stream");
let results = []; // the newest first
let ids = new Set();
let live = true;
let shownId = null;
let shownAt = 0;
let drawing = null;

export function forgetResults() {
  results = [];
  ids = new Set();
  shownId = null;
  draw();
}

export function listen() {
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

export function chooseStream(name) {
  choseStream = true;
  stream = name;
  setLive(true);
  forgetResults();
  if (state) showStreams(state);
  listen();
}

/** Told the state of every second. */
export function showStreams(next) {
  if (state === null) draw(); // results that came before
  state = next;
  showStream(stream);
}

function draw() {
  if (drawing !== null) return;
  const wait = live && shownId !== null ? Math.max(60, shownAt + CARD_MS - Date.now()) : 0;
  drawing = setTimeout(() => {
    drawing = null;
    if (state === null) return;
    const newest = results[0];
    if (live && newest && newest.id !== shownId) show(newest);
    showList();
  }, wait);
}

function show({ id, result }) {
  shownId = id;
  shownAt = Date.now();
  showCard(result, state);
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
    const seen = el("td", "", inputs);
    seen.title = seen.textContent; // it may be cut
    const words = el("td", "", data(firstText(result)));
    words.title = words.textContent;
    const row = el("tr", id === shownId ? "chosen" : "", el("td", "", choose), name, seen, words,
      el("td", "", mix(positiveShares(result.attribution ?? {}))));
    row.dataset.id = id;
    return row;
  });
  body.replaceChildren(...rows);
  body.closest("table").classList.toggle("one", stream !== "");
  body.closest("table").classList.toggle("worded", results.some(({ result }) => firstText(result)));
  if (focused !== undefined) rows.find((row) => row.dataset.id === focused)?.querySelector("button").focus();
}

/** Of the stages in the order of the file, the first that gave a text with something in it. */
function firstText({ text = {} }) {
  const names = Object.keys(text).sort((a, b) => placeOf(a) - placeOf(b));
  return String(text[names.find((name) => text[name])] ?? "");
}

function positiveShares(attribution) {
  const parts = Object.entries(attribution)
    .map(([name, share]) => [name, Math.max(share, 0)])
    .sort(([a], [b]) => placeOf(a) - placeOf(b));
  const sum = parts.reduce((total, [, share]) => total + share, 0);
  return sum > 0 ? parts.map(([name, share]) => [name, share / sum]) : [];
}

function pin(id) {
  const chosen = results.find((one) => one.id === id);
  if (!chosen) return;
  setLive(false);
  show(chosen);
  showList();
}

function setLive(on) {
  live = on;
  $("live").setAttribute("aria-pressed", String(on));
  put($("live"), on ? "Live" : "Held: go live");
  if (on) draw();
}

$("live").addEventListener("click", () => setLive(!live));
onStream(chooseStream);
