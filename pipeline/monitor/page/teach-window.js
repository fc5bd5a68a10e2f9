// The window that is asked about: its media, and what the head in force thinks of it.
import { tile } from "./card.js";
import { data, dateAndTime, el, fullTime, known, url } from "./elements.js";

/** The sound of the window that is shown, from its beginning. */
export function playWindow(target) {
  const sound = target.querySelector("audio");
  if (!sound) return;
  sound.currentTime = 0;
  sound.play().catch(() => {}); // it was not found, as its tile says
}

/** ``keys``: what the buttons do; ``undo`` null: there is nothing to take back. */
export function showWindow(target, one, { inputs }, { windows, problem }, keys) {
  const id = one ? `${one.stream}/${one.start_us}/${Boolean(keys.undo)}` : `none/${Boolean(keys.undo)}/${windows}`;
  if (target.dataset.id === id) return; // its media are there or on their way
  target.dataset.id = id;
  const buttons = el("p", "teach-keys", key("s", "Skip", one && keys.skip), key("u", "Undo", keys.undo));
  if (!one) {
    delete target.dataset.startUs;
    const words = windows === 0 ? "No window yet." : "All windows that came so far are done. The next one comes when it has closed.";
    target.replaceChildren(el("p", "quiet", problem ? "" : words), buttons);
    return;
  }
  Object.assign(target.dataset, { stream: one.stream, startUs: String(one.start_us) });
  const when = el("p", "when", `${dateAndTime(one.start_us / 1000)}, ${(one.end_us - one.start_us) / 1e6} s`);
  when.title = fullTime(one.start_us / 1000);
  const result = { stream: one.stream, window: { start_us: one.start_us, end_us: one.end_us }, present: one.present, coverage: one.coverage };
  const there = inputs.filter((input) => one.present.includes(input.name));
  const tiles = there.map((input) => tile(input, result));
  const sounds = there.filter((input) => input.kind === "audio").map((input) => player(input.name, one));
  const texts = Object.entries(one.text).filter(([, text]) => text).map(([stage, text]) => el("p", "", el("span", "quiet", `${stage}: `), data(text)));
  target.replaceChildren(el("h3", "", data(one.stream)), when, el("div", "media", ...tiles), ...sounds, ...texts, thought(one), buttons);
}

/** It is fetched when it is played. */
function player(input, { stream, start_us }) {
  const sound = el("audio");
  Object.assign(sound, { controls: true, preload: "none", src: url("api/media", { stream, start_us: String(start_us), input, as: "sound" }) });
  sound.setAttribute("aria-label", `sound of ${input}`);
  return sound;
}

function key(name, words, action) {
  const made = el("button", "", el("kbd", "", name), words);
  made.type = "button";
  made.disabled = !action;
  made.setAttribute("aria-keyshortcuts", name);
  if (action) made.addEventListener("click", action);
  return made;
}

function thought({ guess, margin }) {
  if (!known(margin)) return el("p", "quiet", "No head has seen it yet. Windows that are unlike the labelled ones come first.");
  const sure = `${Math.round(100 * margin)} % ahead of the next label`;
  const words = guess === null ? [`The head is not sure enough: the first label is ${sure}.`] : ["The head says ", data(guess), `, ${sure}.`];
  return el("p", "quiet", ...words, " The least sure come first.");
}
