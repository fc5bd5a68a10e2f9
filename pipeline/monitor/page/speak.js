// Speak into it: the visitor's microphone, camera and lines become a stream of the pipeline.
import { $, el, put, seconds, url } from "./elements.js";
import { chooseStream } from "./results.js";
import { Heard } from "./speak-heard.js";
import { Camera, Microphone, openDevices, whyNoDevices, writes } from "./speak-media.js";
import { Session } from "./speak-session.js";

const START = "Speak into it";
const LEVEL_FLOOR_DB = 60;

let about = null;
let parts = null; // of the section
let running = null; // { session, devices } while the visitor is live
let starting = null;
let heard = null; // of the newest session; what was said last comes out after its end

export async function showSpeak() {
  const answer = await fetch(url("api/speak"), { cache: "no-store" }).catch(() => null);
  if (!answer?.ok) return; // the page says that nothing answers
  about = await answer.json();
  if (!about.ingest) return;
  about.inputs.forEach((input) => {
    if (input.kind === "image" && !input.why_not && !writes(input.type)) {
      input.why_not = `this browser writes no ${input.type}`;
    }
  });
  build($("speak"));
  addEventListener("pagehide", () => running?.session.end(true));
}

const served = (kind) => about.inputs.filter((input) => input.kind === kind && !input.why_not);

// -- the section ------------------------------------------------------------------------------

function build(section) {
  const media = el("div", "bar");
  parts = { start: button(START), choices: new Map(), level: el("meter"), status: el("p", "quiet"),
    trouble: el("p", "speak-trouble"), video: el("video"), said: el("p", "heard"), label: el("p"),
    delay: el("p", "quiet"), live: el("div", "speak-live") };
  parts.start.id = "speak-start";
  parts.start.addEventListener("click", () => (running ? stop() : start(true)));
  media.append(parts.start);
  for (const [kind, name] of [["audio", "microphone"], ["image", "camera"]]) {
    if (served(kind).length) media.append(choice(kind, `${name} to ${namesOf(served(kind))}`));
  }
  Object.assign(parts.level, { min: 0, max: 1, low: 0.1, value: 0, hidden: true });
  parts.level.setAttribute("aria-label", "level of the microphone");
  media.append(parts.level);
  parts.status.setAttribute("role", "status");
  parts.trouble.setAttribute("role", "alert");
  parts.said.setAttribute("role", "log");
  parts.said.setAttribute("aria-label", "what the pipeline heard");
  Object.assign(parts.video, { muted: true, playsInline: true, hidden: true });
  parts.video.setAttribute("aria-label", "what the camera sees");
  parts.live.hidden = true;
  parts.live.append(parts.video, el("div", "", parts.said, parts.label, parts.delay));
  const heading = el("h2", "", "Speak into it");
  heading.id = "speak-h";
  section.replaceChildren(heading, media, ...served("text").map(writing), parts.status, parts.trouble,
    parts.live, el("p", "quiet note", notes()));
  if (parts.choices.size === 0) parts.start.hidden = true;
  if (whyNoDevices() && parts.choices.size) {
    parts.start.disabled = true;
    put(parts.status, whyNoDevices());
  }
  section.hidden = false;
}

const namesOf = (inputs) => inputs.map(({ name }) => name).join(" and ");

function button(words) {
  const made = el("button", "", words);
  made.type = "button";
  return made;
}

function choice(kind, words) {
  const box = el("input");
  box.type = "checkbox";
  box.checked = true;
  parts.choices.set(kind, box);
  return el("label", "", box, ` ${words}`);
}

function writing(input) {
  const line = el("input");
  Object.assign(line, { type: "text", maxLength: 1000, autocomplete: "off" });
  const send = el("button", "", "Send");
  const form = el("form", "bar", el("label", "", `A line to ${input.name} `, line), send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    write(input.name, line);
  });
  return form;
}

/** A line is sent as part of what is live; a session that has ended meanwhile is begun anew. */
async function write(input, line) {
  const words = line.value.trim();
  for (let again = false; words; again = true) {
    if (!running && !(await start(false))) return;
    if (await running.session.write(input, words)) {
      if (line.value.trim() === words) line.value = ""; // what was typed meanwhile stays
      return;
    }
    if (running || again) return; // it was refused, and the page says why
  }
}

function notes() {
  const other = about.inputs.filter((input) => input.why_not);
  const not = other.map(({ name, why_not }) => `Input ${name} cannot be spoken into: ${why_not}.`);
  return [`What you send is kept in the topics of this pipeline, as a stream of its own, for at most ${seconds(about.seconds_max)} at a time.`, ...not].join(" ");
}

// -- live -------------------------------------------------------------------------------------

/** Whether the visitor is live now; `withDevices` false: for lines of text alone. */
async function start(withDevices) {
  starting ??= begin(withDevices).finally(() => {
    starting = null;
    parts.start.disabled = !running && Boolean(whyNoDevices());
  });
  return starting;
}

async function begin(withDevices) {
  const wants = (kind) => withDevices && Boolean(parts.choices.get(kind)?.checked);
  put(parts.trouble, "");
  parts.start.disabled = true;
  const devices = { media: null, closers: [] };
  try {
    let troubles = [];
    if (wants("audio") || wants("image")) {
      put(parts.status, "Asking the browser for your devices.");
      ({ media: devices.media, troubles } = await openDevices(wants("audio"), wants("image")));
    }
    const session = await Session.begin((words) => put(parts.trouble, words), (words) => stop(words));
    running = { session, devices };
    heard?.close();
    heard = new Heard(session, parts, () => chooseStream(session.stream)); // they remain open to choice
    await listenAndLook(session, devices);
    if (running?.session !== session) return false; // it has ended meanwhile, and said why
    showRunning(session, devices.media, troubles);
    return true;
  } catch (error) {
    await stop(error.message);
    closeDevices(devices);
    return false;
  }
}

async function listenAndLook(session, { media, closers }) {
  media?.getTracks().forEach((track) => track.addEventListener("ended", () => {
    stop(`The browser took the ${track.kind === "audio" ? "microphone" : "camera"} away.`);
  }));
  if (media?.getAudioTracks().length) {
    const inputs = served("audio");
    const hear = (...block) => inputs.forEach(({ name }) => session.hear(name, ...block));
    closers.push(await Microphone.open(media, inputs[0].rate, hear, showLevel));
    parts.level.hidden = false;
  }
  if (media?.getVideoTracks().length) {
    const inputs = served("image");
    const see = (type, ...picture) => inputs.filter((input) => input.type === type)
      .forEach(({ name }) => session.see(name, ...picture));
    parts.video.hidden = false;
    closers.push(await Camera.open(media, parts.video, new Set(inputs.map(({ type }) => type)), see));
  }
}

function showRunning(session, media, troubles) {
  const sent = new Set([media?.getAudioTracks().length ? "audio" : "", media?.getVideoTracks().length ? "image" : ""]);
  const waits = about.inputs.filter((input) => input.gating && !sent.has(input.kind));
  const wait = waits.length && about.idle_seconds
    ? ` Its windows wait up to ${seconds(about.idle_seconds)} longer, for want of ${namesOf(waits)}.` : "";
  put(parts.start, "Stop");
  put(parts.status, `You are live as stream ${session.stream}.${wait} ${troubles.join(" ")}`.trim());
  parts.live.hidden = false;
}

function showLevel(peak) {
  const db = 20 * Math.log10(Math.max(peak, 1e-6));
  parts.level.value = Math.max(0, 1 + db / LEVEL_FLOOR_DB);
}

async function stop(why = "") {
  const was = running;
  running = null;
  put(parts.trouble, why);
  if (was) {
    closeDevices(was.devices);
    await was.session.end();
  }
  put(parts.start, START);
  parts.start.disabled = Boolean(whyNoDevices());
  put(parts.status, was ? "You are not live any more. What you said last is still on its way." : "");
}

function closeDevices({ media, closers }) {
  closers.splice(0).forEach((closer) => closer.close());
  media?.getTracks().forEach((track) => track.stop());
  parts.level.hidden = parts.video.hidden = true;
}
