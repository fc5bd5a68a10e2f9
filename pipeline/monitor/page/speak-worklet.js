// Runs on the browser's audio thread: what the microphone gives, mixed to one channel of 16-bit
// samples, in blocks of 50 ms, each with the number of its first sample.

const BLOCK_S = 0.05;

class Ear extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(sampleRate * BLOCK_S);
    this.next = 0; // the number of the sample behind the newest
    this.begin();
  }

  begin() {
    this.block = new Int16Array(this.size);
    this.filled = 0;
    this.peak = 0;
  }

  process([channels]) {
    if (!channels?.length) return true; // nothing is connected just now
    if (currentFrame !== this.next) this.send(); // samples were lost: they leave a gap
    for (let at = 0; at < channels[0].length; at += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[at];
      const value = sum / channels.length;
      this.peak = Math.max(this.peak, Math.abs(value));
      this.block[this.filled] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
      this.filled += 1;
      this.next = currentFrame + at + 1;
      if (this.filled === this.size) this.send();
    }
    return true;
  }

  send() {
    if (this.filled === 0) return;
    const samples = this.block.slice(0, this.filled);
    const message = { first: this.next - this.filled, samples, peak: this.peak };
    this.port.postMessage(message, [samples.buffer]);
    this.begin();
  }
}

registerProcessor("ear", Ear);
