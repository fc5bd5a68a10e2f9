// Which stream is looked at: a text field with a list below it, searched on the server, so that
// a thousand streams cost the page no more than ten.
import { $, data, el, put, url } from "./elements.js";

const WAIT_MS = 150; // after a key

let chosen = "";
let told = null;
let options = []; // the ids that are listed; "" stands for all streams
let active = -1;
let waiting = null;
let asked = 0;

const field = $("stream");
const list = $("streams");

/** ``tell`` is told the id that the reader chooses; "" is all streams. */
export function onStream(tell) {
  told = tell;
}

export function showStream(stream) {
  chosen = stream;
  if (list.hidden) field.value = stream;
}

async function search(part) {
  const number = (asked += 1);
  try {
    const answer = await fetch(url("api/streams", { find: part }), { signal: AbortSignal.timeout(8000), cache: "no-store" });
    if (!answer.ok || number !== asked) return;
    const { streams, count } = await answer.json();
    if (number === asked && document.activeElement === field) open(part, streams.reverse(), count);
  } catch {
    close(); // nobody answers: the page says so
  }
}

function open(part, streams, count) {
  options = part ? streams : ["", ...streams];
  const made = options.map((stream, at) => {
    const one = el("li", "", stream === "" ? "all streams" : data(stream));
    one.id = `stream-option-${at}`;
    one.setAttribute("role", "option");
    one.setAttribute("aria-selected", String(stream === chosen));
    one.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
    one.addEventListener("click", () => choose(at));
    return one;
  });
  const more = count - streams.length;
  put($("streams-more"), more > 0 ? `${streams.length} of ${count.toLocaleString("en")} streams: type a part of a name` : count ? "" : "no stream has this in its name");
  list.replaceChildren(...made);
  list.hidden = made.length === 0;
  $("streams-box").hidden = false;
  field.setAttribute("aria-expanded", "true");
  point(part && made.length ? 0 : -1);
}

function point(place) {
  list.children[active]?.classList.remove("active");
  active = place;
  const one = list.children[active];
  one?.classList.add("active");
  one?.scrollIntoView({ block: "nearest" });
  if (one) field.setAttribute("aria-activedescendant", one.id);
  else field.removeAttribute("aria-activedescendant");
}

function close() {
  asked += 1; // an answer that is on its way comes too late
  clearTimeout(waiting);
  options = [];
  list.replaceChildren();
  list.hidden = true;
  $("streams-box").hidden = true;
  field.setAttribute("aria-expanded", "false");
  field.removeAttribute("aria-activedescendant");
  field.value = chosen;
}

function choose(place) {
  chosen = options[place];
  close();
  told?.(chosen);
}

field.addEventListener("focus", () => {
  field.select();
  search("");
});
field.addEventListener("click", () => list.hidden && search(""));
field.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => search(field.value.trim()), WAIT_MS);
});
field.addEventListener("blur", close);
field.addEventListener("keydown", (event) => {
  if (event.key === "Escape") close();
  else if (event.key === "Enter" && active >= 0) choose(active);
  else if (event.key === "ArrowDown" && list.hidden) search("");
  else if (event.key === "ArrowDown") point(Math.min(active + 1, options.length - 1));
  else if (event.key === "ArrowUp") point(Math.max(active - 1, 0));
  else return;
  event.preventDefault();
});
