// Teach it: windows labelled by keys, the most instructive first; what is sent and when. The parts
// that are seen are in teach-window.js and teach-training.js.
import { $, data, dateAndTime, el, known, put, url } from "./elements.js";
import { showTraining } from "./teach-training.js";
import { playWindow, showWindow } from "./teach-window.js";

const ASK_MS = 1000;
const KEYS = 9;
const UNDO_MAX = 200;

let told = null; // the last answer of /api/teach
let state = null; // the last one of /api/state
let classes = []; // by key, from 1 on
let history = []; // windows that were labelled or skipped, the newest last
let shown = null; // the window that is asked about
let gone = new Set(); // windows that were dealt with, whatever an older answer offers
let orders = Promise.resolve(); // what is sent goes in the order of the keys
let failed = "";

/** Told the state of every second. */
export function showTeaching(next) {
  state = next;
  if (told) draw();
}

/** Asks once whether the file allows it, and builds the panel where it does. */
export async function beginTeaching() {
  try {
    const answer = await fetch(url("api/teach"), { cache: "no-store" });
    told = answer.ok ? await answer.json() : null;
  } catch {
    told = null;
  }
  if (told === null) return void setTimeout(beginTeaching, 5 * ASK_MS);
  if (!told.ingest) return;
  classes = Object.keys(told.counts).slice(0, KEYS);
  build();
  draw();
  ask();
}

// -- asking and sending -----------------------------------------------------------------------

const open = () => $("teach-panel").open && !document.hidden;

async function ask() {
  if (open()) {
    try {
      await answered(await fetch(url("api/teach", { stream: $("teach-stream").value }), { cache: "no-store", signal: AbortSignal.timeout(15000) }));
    } catch (error) {
      failed = reason(error);
      draw();
    }
  }
  setTimeout(ask, ASK_MS);
}

async function answered(answer) {
  if (!answer.ok) throw new Error((await answer.text()).trim().slice(0, 300));
  told = await answer.json();
  failed = "";
  Object.keys(told.counts).forEach((label) => {
    if (classes.length < KEYS && !classes.includes(label)) classes.push(label);
  });
  draw();
}

const reason = (error) => (error instanceof TypeError || error.name === "TimeoutError" ? "no answer from the pipeline" : error.message);

/** Sends an order once those before it are answered; ``otherwise`` undoes what was shown already. */
function send(name, body, otherwise = () => {}) {
  orders = orders.then(async () => {
    try {
      const headers = { "Content-Type": "application/json", "X-Motet-Session": told.session };
      const text = JSON.stringify({ ...body, of: $("teach-stream").value });
      await answered(await fetch(url(`api/teach/${name}`), { method: "POST", headers, body: text, signal: AbortSignal.timeout(60000) }));
    } catch (error) {
      otherwise();
      failed = reason(error);
      draw();
    }
  });
  return orders;
}

// -- what keys do -----------------------------------------------------------------------------

const idOf = (one) => `${one.stream}/${one.start_us}`;
const named = ({ stream, start_us, end_us }) => ({ stream, start_us, end_us });

function label(at) {
  if (!shown || at >= classes.length) return;
  const name = classes[at];
  told.counts[name] = (told.counts[name] ?? 0) + 1; // until the answer says it
  dealtWith("label", { label: name });
}

function skip() {
  if (shown) dealtWith("skip", {});
}

function dealtWith(name, body) {
  const one = shown;
  gone.add(idOf(one));
  history.push({ one, name });
  history.splice(0, history.length - UNDO_MAX);
  next();
  send(name, { ...named(one), ...body }, () => forget(one));
}

/** It was not taken: it is shown again. */
function forget(one) {
  gone.delete(idOf(one));
  history = history.filter((past) => past.one !== one);
  shown = one;
}

function undo() {
  const past = history.pop();
  if (!past) return;
  gone.delete(idOf(past.one));
  shown = past.one;
  shown.back = true;
  draw();
  const again = past.name === "label" ? { label: null } : { again: true };
  send(past.name, { ...named(past.one), ...again });
}

/**
 * The window that is looked at stays until it is dealt with, whatever would be better by now; but
 * not one from before there was a head, unless it was taken back.
 */
function next() {
  const before = shown && !shown.back && !known(shown.margin) && told.offered.some((one) => known(one.margin));
  if (shown && !before && !gone.has(idOf(shown))) return;
  shown = told.offered.find((one) => !gone.has(idOf(one))) ?? null;
}

function onKey(event) {
  const typing = event.target.closest?.("input, select, textarea, [contenteditable]");
  if (typing || !open() || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (/^[1-9]$/.test(event.key)) label(Number(event.key) - 1);
  else if (event.key === "u") undo();
  else if (event.key === "s") skip();
  else if (event.key === "p") playWindow($("teach-window"));
  else return;
  event.preventDefault();
  draw();
}

function addClass(event) {
  event.preventDefault();
  const name = $("teach-name").value.trim().slice(0, 64);
  if (name && !classes.includes(name) && classes.length < KEYS) classes.push(name);
  $("teach-name").value = "";
  draw();
}

// -- what is seen -----------------------------------------------------------------------------

function build() {
  const stream = el("select");
  stream.id = "teach-stream";
  stream.append(new Option("all streams", ""));
  stream.addEventListener("change", () => { shown = null; told.offered = []; draw(); });
  const name = el("input");
  Object.assign(name, { id: "teach-name", type: "text", maxLength: 64, placeholder: "a class", autocomplete: "off" });
  name.setAttribute("aria-label", "Name of a class to add");
  const form = el("form", "teach-add", name, button("Add class", null));
  form.addEventListener("submit", addClass);
  const panel = el("details", "", el("summary", "", el("h2", "", "Teach it")), el("div", "bar", el("label", "", "Windows of ", stream), form),
    part("teach-classes", "teach-classes"), part("teach-trouble", "failed"), part("teach-counts", "quiet note"), part("teach-said", "unseen"),
    el("div", "shown", part("teach-window", "card"), part("teach-training", "card")));
  panel.id = "teach-panel";
  $("teach").replaceChildren(panel);
  $("teach").hidden = false;
  $("teach-trouble").setAttribute("role", "status");
  $("teach-said").setAttribute("role", "status");
  panel.addEventListener("toggle", () => draw());
  document.addEventListener("keydown", onKey);
}

function part(id, kind) {
  const made = el("div", kind);
  made.id = id;
  return made;
}

function button(words, action) {
  const made = el("button", "", words);
  if (action) {
    made.type = "button";
    made.addEventListener("click", action);
  }
  return made;
}

function draw() {
  if (state === null || !$("teach-panel")?.open) return;
  next();
  showStreams();
  showClasses();
  $("teach-name").closest("form").hidden = classes.length >= KEYS;
  const trouble = failed || told.problem || "";
  $("teach-trouble").hidden = trouble === "";
  put($("teach-trouble"), trouble);
  const keys = classes.length === 0 ? "" : classes.length === 1 ? "1 labels, " : `1 to ${classes.length} label, `;
  put($("teach-counts"), `${told.labels} windows have a label in ${told.topic}. Keys: ${keys}s skips, u takes the last one back, p plays the sound.`);
  showWindow($("teach-window"), shown, state, told, { skip: () => { skip(); draw(); }, undo: history.length ? undo : null });
  put($("teach-said"), shown ? `Window of ${shown.stream}, ${dateAndTime(shown.start_us / 1000)}` : "No window to label");
  showTraining($("teach-training"), told, state, send);
}

function showStreams() {
  const select = $("teach-stream");
  const names = [...state.streams].sort();
  if (select.value && !names.includes(select.value)) names.push(select.value);
  const had = [...select.options].slice(1).map((option) => option.value);
  if (names.length === had.length && names.every((name, at) => name === had[at])) return;
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...names.map((name) => new Option(name.slice(0, 60), name)));
  select.value = chosen;
}

function showClasses() {
  const row = $("teach-classes");
  const wanted = classes.map((name) => `${name}\n${told.counts[name] ?? 0}`).join("\n");
  if (row.dataset.shown === wanted) return; // a button that has the focus keeps it
  row.dataset.shown = wanted;
  const focused = [...row.children].indexOf(document.activeElement);
  row.replaceChildren(...classes.map((name, at) => {
    const made = button("", () => { label(at); draw(); });
    made.append(el("kbd", "", String(at + 1)), data(name), el("span", "quiet", String(told.counts[name] ?? 0)));
    made.setAttribute("aria-keyshortcuts", String(at + 1));
    return made;
  }));
  if (classes.length === 0) row.append(el("span", "quiet", "Add the classes that windows belong to: at least two."));
  row.children[focused]?.focus();
}
