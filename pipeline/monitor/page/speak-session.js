// One session with the server: what is heard, seen and written goes there, each input in order.
import { url } from "./elements.js";
import { nowUs } from "./speak-clock.js";

const SOUND_MS = 100; // a request has at least so much of sound
const SOUND_HELD_MS = 20000; // while the network stands still; what is older is dropped
const PICTURES_HELD = 2;
const GIVE_UP_MS = 20000;
const BYTES_MAX = 500000;

export class Session {
  /** `told` gets words about trouble ("" once it is over), `ended` why the session is no more. */
  static async begin(told, ended) {
    const answer = await fetch(url("api/speak"), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ now_us: nowUs() }),
      signal: AbortSignal.timeout(30000),
    });
    if (!answer.ok) throw new Error(await wordsOf(answer));
    return new Session(await answer.json(), told, ended);
  }

  constructor(begun, told, ended) {
    this.stream = begun.stream;
    this.offset_us = begun.offset_us; // from the browser's clock to event time
    this.key = begun.session;
    this.told = told;
    this.ended = ended;
    this.over = false;
    this.lines = new Map();
  }

  hear(input, at_us, samples, rate) {
    const line = this.line(input);
    const last = line.waiting.at(-1);
    const gap_us = last ? at_us - (last.at_us + (last.samples * 1e6) / rate) : 0;
    const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
    if (last?.rate === rate && Math.abs(gap_us) < 1000 && last.bytes < BYTES_MAX) {
      last.parts.push(bytes);
      last.bytes += bytes.length;
      last.samples += samples.length;
    } else {
      line.waiting.push({ at_us, rate, samples: samples.length, bytes: bytes.length, parts: [bytes] });
    }
    while (soundMs(line.waiting) > SOUND_HELD_MS && line.waiting.length > 1) line.waiting.shift();
    if (soundMs(line.waiting) >= SOUND_MS) this.send(input, line);
  }

  see(input, at_us, bytes) {
    const line = this.line(input);
    line.waiting.push({ at_us, parts: [bytes] });
    line.waiting.splice(0, line.waiting.length - PICTURES_HELD);
    this.send(input, line);
  }

  /** Whether it was taken. */
  write(input, words) {
    return new Promise((done) => {
      const line = this.line(input);
      line.waiting.push({ at_us: nowUs(), parts: [words], done });
      this.send(input, line);
    });
  }

  /** `leaving`: the page is being closed, and nobody waits for an answer. */
  async end(leaving = false) {
    if (this.over) return;
    if (!leaving) for (const [input, line] of this.lines) await this.send(input, line);
    if (this.over) return;
    this.over = true;
    const options = { method: "POST", headers: this.headers(), keepalive: true };
    await fetch(url("api/speak/end"), options).catch(() => {}); // the server ends it by itself too
  }

  line(input) {
    if (!this.lines.has(input)) this.lines.set(input, { waiting: [], busy: null });
    return this.lines.get(input);
  }

  headers() {
    return { "X-Motet-Session": this.key };
  }

  /** One request at a time, so that what belongs to an input arrives in order. */
  send(input, line) {
    line.busy ??= this.empty(input, line).finally(() => { line.busy = null; });
    return line.busy;
  }

  async empty(input, line) {
    while (line.waiting.length && !this.over) {
      const piece = line.waiting.shift();
      const taken = await this.deliver(input, piece);
      piece.done?.(taken);
    }
    line.waiting.splice(0).forEach((piece) => piece.done?.(false));
  }

  /** Whether it was taken; trouble is told, and tried again where that may help. */
  async deliver(input, { at_us, rate, parts }) {
    const query = { input, at_us: String(at_us), ...(rate ? { rate: String(rate) } : {}) };
    const began = Date.now();
    for (let wait_ms = 250; !this.over; wait_ms = Math.min(2 * wait_ms, 4000)) {
      const [status, words] = await this.post(url("api/speak/record", query), new Blob(parts));
      if (status === 200) {
        this.told("");
        return true;
      }
      const later = [0, 429, 503].includes(status);
      if ([401, 403, 410].includes(status) || (later && Date.now() - began > GIVE_UP_MS)) {
        this.over = true;
        this.ended(words);
        return false;
      }
      this.told(words);
      if (!later) return false; // this piece is refused, and would be again
      await new Promise((done) => setTimeout(done, wait_ms));
    }
    return false;
  }

  async post(where, body) {
    try {
      const options = { method: "POST", headers: this.headers(), body, signal: AbortSignal.timeout(10000) };
      const answer = await fetch(where, options);
      return [answer.status, answer.ok ? "" : await wordsOf(answer)];
    } catch {
      return [0, "no answer from the pipeline"];
    }
  }
}

const wordsOf = async (answer) => (await answer.text()).trim().slice(0, 300);

const soundMs = (waiting) => waiting.reduce((sum, { samples, rate }) => sum + (samples * 1000) / rate, 0);
