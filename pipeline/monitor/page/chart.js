// A small chart of lines over time, as SVG. By keyboard it is a slider over its points in time.
import { clockTime, el, known, put } from "./elements.js";

const SVG = "http://www.w3.org/2000/svg";
const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [150, 46, 8, 8, 20];
const GAP_MS = 31000; // a value that is missing for longer breaks the line

function svg(tag, kind, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  if (kind) made.setAttribute("class", kind);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, String(value)));
  return made;
}

/** The least of a few even steps of a power of ten that is not below ``most``: its half is round too. */
function roundUp(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 4, 6, 8, 10].find((step) => step * power >= most * 0.999) * power;
}

export class Chart {
  /** ``format``: a value as text; ``most``: where the scale ends at least. */
  constructor(title, format, most = 0) {
    this.title = title;
    this.format = format;
    this.most = most;
    this.at = null; // place of the point that is looked at; null: the newest
    this.data = { times: [], series: [], marks: [] };
    this.legend = el("ul", "legend");
    this.when = el("span", "quiet when");
    this.plot = svg("svg", "plot", { "aria-hidden": "true" });
    this.slider = el("div", "plotted", this.plot);
    this.slider.tabIndex = 0;
    const roles = { role: "slider", "aria-label": `${title} over time`, "aria-valuemin": "0" };
    Object.entries(roles).forEach(([name, value]) => this.slider.setAttribute(name, value));
    this.root = el("figure", "chart", el("figcaption", "", el("h3", "", title), this.when), this.slider, this.legend);
    this.slider.addEventListener("keydown", (event) => this.key(event));
    this.slider.addEventListener("pointermove", (event) => this.point(event));
    this.slider.addEventListener("pointerleave", () => this.look(null));
    this.slider.addEventListener("blur", () => this.look(null));
    new ResizeObserver(() => this.draw()).observe(this.slider);
  }

  /** ``times`` in ms, rising; ``series``: name, colour class, one value or null for each time. */
  show(times, series, marks) {
    this.data = { times, series, marks };
    this.draw();
  }

  key(event) {
    const last = this.data.times.length - 1;
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 12, PageDown: -12 }[event.key];
    const now = this.at ?? last;
    const to = event.key === "Home" ? 0 : event.key === "End" ? last : step === undefined ? null : now + step;
    if (to === null) return;
    event.preventDefault();
    this.look(Math.min(Math.max(to, 0), last));
  }

  point(event) {
    const { times } = this.data;
    if (times.length < 2) return;
    const frame = this.slider.getBoundingClientRect();
    const share = (event.clientX - frame.left - LEFT) / (frame.width - LEFT - RIGHT);
    const time = times[0] + share * (times.at(-1) - times[0]);
    const next = times.findIndex((one) => one >= time);
    const place = next < 0 ? times.length - 1 : next && time - times[next - 1] < times[next] - time ? next - 1 : next;
    this.look(place);
  }

  look(place) {
    this.at = place;
    this.draw();
  }

  draw() {
    const { times, series, marks } = this.data;
    const width = Math.round(this.slider.clientWidth);
    const place = Math.min(this.at ?? times.length - 1, times.length - 1);
    this.tell(place);
    if (!width) return;
    const values = series.flatMap((one) => one.values.filter(known));
    const top = roundUp(Math.max(this.most, ...values, 1e-9));
    const span = Math.max(times.at(-1) - times[0], 1) || 1;
    const x = (time) => LEFT + ((time - times[0]) / span) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    this.plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const number = (value) => (value === 0 ? "0" : this.format(value));
    const halved = number(top / 2) !== number(top); // not where both are rounded to the same
    const parts = (halved ? [0, 0.5, 1] : [0, 1]).flatMap((share) => {
      const line = svg("line", "grid", { x1: LEFT, x2: width - RIGHT, y1: y(share * top), y2: y(share * top) });
      const label = svg("text", "tick", { x: LEFT - 6, y: y(share * top) + 4, "text-anchor": "end" });
      label.textContent = number(share * top);
      return [line, label];
    });
    if (times.length > 1) {
      parts.push(...[0, 0.5, 1].map((share) => {
        const anchor = ["start", "middle", "end"][2 * share];
        const label = svg("text", "tick", { x: x(times[0] + share * span), y: HEIGHT - 5, "text-anchor": anchor });
        label.textContent = clockTime(times[0] + share * span);
        return label;
      }));
      parts.push(...marks.filter((mark) => mark.at_ms >= times[0]).map((mark) => {
        const line = svg("line", "mark", { x1: x(mark.at_ms), x2: x(mark.at_ms), y1: TOP, y2: HEIGHT - BOTTOM });
        line.append(svg("title"));
        line.firstChild.textContent = mark.words;
        return line;
      }));
      parts.push(...series.map((one) => svg("path", `drawn ${one.colour}`, { d: pathOf(times, one.values, x, y) })));
    }
    if (this.at !== null && times.length) {
      parts.push(svg("line", "looked", { x1: x(times[place]), x2: x(times[place]), y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    this.plot.replaceChildren(...parts);
  }

  /** The values at a place, in the legend and for a screen reader. */
  tell(place) {
    const { times, series } = this.data;
    while (this.legend.children.length > series.length) this.legend.lastChild.remove();
    while (this.legend.children.length < series.length) {
      this.legend.append(el("li", "", el("span", "swatch"), el("bdi"), " ", el("b")));
    }
    const told = series.map((one, at) => {
      const line = this.legend.children[at];
      const value = one.values[place];
      const text = known(value) ? this.format(value) : "–";
      line.className = one.colour;
      put(line.children[1], one.name);
      put(line.children[2], text);
      return `${one.name} ${known(value) ? text : "none"}`;
    });
    const when = place >= 0 ? clockTime(times[place]) : "no point yet";
    put(this.when, this.at === null ? "" : when);
    this.slider.setAttribute("aria-valuemax", String(Math.max(times.length - 1, 0)));
    this.slider.setAttribute("aria-valuenow", String(Math.max(place, 0)));
    this.slider.setAttribute("aria-valuetext", [when, ...told].join(", "));
  }
}

/** A line through the values that are known; a value alone is a dot. */
function pathOf(times, values, x, y) {
  let path = "";
  let before = null;
  times.forEach((time, at) => {
    if (!known(values[at])) return;
    const joined = before !== null && time - before <= GAP_MS;
    const place = `${x(time).toFixed(1)},${y(values[at]).toFixed(1)}`;
    path += joined ? `L${place}` : `M${place}l0.01,0`;
    if (!joined) path += `M${place}`;
    before = time;
  });
  return path;
}
