// When samples were taken, by the browser's monotonic clock. Nothing here touches a device.
/** The browser's monotonic clock in microseconds: what all times of a session are. */
export const nowUs = () => Math.round(performance.now() * 1000);

const SETTLE_BLOCKS = 6;
const SPAN_US = 2e6;
const STOOD_US = 100000;

/**
 * Lays numbers of samples on the clock. Blocks reach us when the page has time for them, and never
 * before they were heard: so the one that came fastest says where they lie. From there on samples
 * are counted, which has none of that jitter. Only where the fastest of two seconds is late has
 * the sound card stood still, and later samples are laid anew.
 */
export class SampleClock {
  constructor(rate) {
    this.rate = rate;
    this.offset = Infinity;
    this.blocks = 0;
    this.leastUs = Infinity;
    this.sinceUs = 0;
  }

  get settled() {
    return this.blocks >= SETTLE_BLOCKS;
  }

  /** Told of every block as it comes: the number behind its last sample, and the time. */
  note(end, now_us) {
    const offset = now_us - (end * 1e6) / this.rate;
    if (!this.settled) {
      this.offset = Math.min(this.offset, offset);
      this.blocks += 1;
      this.sinceUs = now_us;
      return;
    }
    this.leastUs = Math.min(this.leastUs, offset - this.offset);
    if (now_us - this.sinceUs < SPAN_US) return;
    if (this.leastUs > STOOD_US) this.offset += this.leastUs;
    this.leastUs = Infinity;
    this.sinceUs = now_us;
  }

  /** When a sample was taken, in whole microseconds. */
  at(number) {
    return Math.round((number * 1e6) / this.rate + this.offset);
  }
}
