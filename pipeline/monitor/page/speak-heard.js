// What the pipeline makes of the visitor's stream: its words, its label, and after how long.
import { data, el, put, seconds, url } from "./elements.js";
import { nowUs } from "./speak-clock.js";

const WORDS_KEPT = 200; // of the latencies
const WINDOWS_KEPT = 60;

export class Heard {
  /** `first` is called when the first result of the stream has come: the page may show it now. */
  constructor({ stream, offset_us }, places, first) {
    this.offset_us = offset_us;
    this.places = places;
    this.first = first;
    this.ids = new Set();
    this.delays_us = [];
    this.places.said.replaceChildren();
    put(this.places.label, "");
    put(this.places.delay, "The first words come when their window has closed.");
    this.events = new EventSource(url("api/results", { stream, last: "20" }));
    this.events.onmessage = (message) => this.take(message);
  }

  close() {
    this.events.close();
  }

  take({ data: text, lastEventId: id }) {
    if (this.ids.has(id)) return;
    if (this.ids.size === 0) this.first();
    this.ids.add(id);
    const result = JSON.parse(text);
    const now_us = nowUs() + this.offset_us; // event time of now
    const spoken = Object.values(result.data ?? {}).find((found) => Array.isArray(found?.words));
    const words = spoken ? spoken.words : [];
    this.say(words.length ? words.map(({ word }) => word).join("") : otherText(result));
    for (const { end_us } of words) if (Number.isFinite(end_us)) this.delays_us.push(now_us - end_us);
    this.delays_us.splice(0, this.delays_us.length - WORDS_KEPT);
    if (this.delays_us.length) put(this.places.delay, delayWords(this.delays_us));
    else put(this.places.delay, `The newest window came out ${seconds((now_us - result.window.end_us) / 1e6)} after its end.`);
    put(this.places.label, [...labelOf(result), ...failuresOf(result)].join("; "));
  }

  say(words) {
    if (!words.trim()) return;
    const { said } = this.places;
    said.append(el("span", "", data(`${words.trim()} `)));
    while (said.children.length > WINDOWS_KEPT) said.firstChild.remove();
  }
}

function delayWords(delays_us) {
  const sorted = [...delays_us].sort((a, b) => a - b);
  const middle = sorted[Math.floor(sorted.length / 2)];
  return `Words came out ${seconds(middle / 1e6)} after they were said, the slowest ${seconds(sorted.at(-1) / 1e6)}.`;
}

const labelOf = ({ output }) => (output?.label ? [`label: ${output.label}`] : []);

const failuresOf = ({ failed = {} }) => Object.entries(failed).map(([stage, why]) => `${stage} failed: ${why}`);

/** Of a pipeline whose stages give text without times of its words. */
const otherText = ({ text = {} }) => String(Object.values(text).find(Boolean) ?? "");
