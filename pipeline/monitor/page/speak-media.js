// The visitor's microphone and camera: asked for, listened to, looked at.
import { nowUs, SampleClock } from "./speak-clock.js";

const PICTURE_MS = 500;
const WIDTH_MAX = 640;
const QUALITY = 0.8;

/** Why this page cannot have them, in words; "" where it may ask. */
export function whyNoDevices() {
  if (window.isSecureContext && navigator.mediaDevices) return "";
  return "The browser gives microphone and camera only to pages over https or of its own machine: "
    + "open this one by the address 127.0.0.1 on the machine that serves it, or put a proxy with "
    + "TLS in front.";
}

/**
 * Both are asked for at once, so that there is one question. Of two that are not both to be had,
 * one may be: `troubles` says in words what is missing. With none of them it throws.
 */
export async function openDevices(microphone, camera) {
  try {
    return { media: await ask(microphone, camera), troubles: [] };
  } catch (error) {
    if (!microphone || !camera) throw new Error(refusal(error, microphone ? "microphone" : "camera"));
  }
  const troubles = [];
  const media = new MediaStream();
  for (const [name, wanted] of [["microphone", [true, false]], ["camera", [false, true]]]) {
    try {
      (await ask(...wanted)).getTracks().forEach((track) => media.addTrack(track));
    } catch (error) {
      troubles.push(refusal(error, name));
    }
  }
  if (media.getTracks().length === 0) throw new Error(troubles.join(" "));
  return { media, troubles };
}

const ask = (microphone, camera) => navigator.mediaDevices.getUserMedia({
  // the page plays nothing, so there is no echo; who speaks softly is still to be heard
  audio: microphone && { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true },
  video: camera && { width: { ideal: WIDTH_MAX }, frameRate: { ideal: 10 } },
});

function refusal(error, name) {
  const known = {
    NotAllowedError: `The browser did not allow the ${name}: allow it beside the address of this page, and try again.`,
    NotFoundError: `This machine has no ${name}.`,
    NotReadableError: `The ${name} is held by another program: close that, and try again.`,
  };
  return known[error.name] ?? `The ${name} cannot be had: ${error.message || error.name}`;
}

/** Sound of the stream; `heard(at_us, samples, rate)` and `level(peak)` are told of every block. */
export class Microphone {
  static async open(media, rate, heard, level) {
    const [context, source] = connect(media, rate);
    const microphone = new Microphone(context, heard, level);
    try {
      await context.audioWorklet.addModule("./speak-worklet.js");
      const ear = new AudioWorkletNode(context, "ear");
      ear.port.onmessage = (message) => microphone.take(message.data);
      source.connect(ear).connect(context.destination); // it gives silence, but must lead somewhere
      await context.resume();
    } catch (error) {
      await context.close();
      throw error;
    }
    return microphone;
  }

  constructor(context, heard, level) {
    this.context = context;
    this.heard = heard;
    this.level = level;
    this.clock = new SampleClock(context.sampleRate);
    this.held = [];
  }

  take({ first, samples, peak }) {
    this.level(peak);
    this.clock.note(first + samples.length, nowUs());
    this.held.push([first, samples]);
    if (!this.clock.settled) return;
    for (const [number, block] of this.held.splice(0)) {
      this.heard(this.clock.at(number), block, this.context.sampleRate);
    }
  }

  close() {
    this.heard = this.level = () => {};
    this.context.close();
  }
}

/** The input's own rate where the browser can: it resamples well. Else its own, for the server. */
function connect(media, rate) {
  for (const options of rate ? [{ sampleRate: rate }, {}] : [{}]) {
    let context = null;
    try {
      context = new AudioContext(options);
      return [context, context.createMediaStreamSource(media)];
    } catch (error) {
      context?.close();
      if (error.name !== "NotSupportedError" || options.sampleRate === undefined) throw error;
    }
  }
}

/** Pictures of the stream, two a second; `seen(type, at_us, bytes)` gets each in each of `types`. */
export class Camera {
  static async open(media, video, types, seen) {
    video.srcObject = media;
    await video.play();
    return new Camera(video, types, seen);
  }

  constructor(video, types, seen) {
    this.video = video;
    this.types = types;
    this.seen = seen;
    this.canvas = document.createElement("canvas");
    this.timer = setInterval(() => this.look(), PICTURE_MS);
    this.look();
  }

  async look() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!width) return; // it has not begun yet
    const scale = Math.min(1, WIDTH_MAX / width);
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.getContext("2d").drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    const at_us = nowUs();
    for (const type of this.types) {
      const blob = await new Promise((done) => this.canvas.toBlob(done, type, QUALITY));
      if (blob?.type === type) this.seen(type, at_us, new Uint8Array(await blob.arrayBuffer()));
    }
  }

  close() {
    clearInterval(this.timer);
    this.seen = () => {};
    this.video.srcObject = null;
  }
}

/** Whether this browser writes pictures of the type; not all of them write WebP. */
export function writes(type) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  return canvas.toDataURL(type).startsWith(`data:${type}`);
}
