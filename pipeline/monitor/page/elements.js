// What all parts of the page are made of. Whatever comes from data reaches the document as text
// (text nodes, properties of elements), never as markup.

const COLOURS = 8;

/** The page's own query: a token that every request needs, and a stream to begin with. */
export const page = new URLSearchParams(location.search);
export const $ = (id) => document.getElementById(id);

export function url(path, query = {}) {
  const fields = new URLSearchParams(query);
  if (page.has("token")) fields.set("token", page.get("token"));
  const text = fields.toString();
  return text ? `${path}?${text}` : path;
}

export function el(tag, kind, ...children) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Text of foreign make: its direction stays inside. */
export const data = (text) => el("bdi", "", String(text));

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function bar(kind, share) {
  const fill = el("i");
  fill.style.width = `${100 * Math.min(Math.max(share || 0, 0), 1)}%`;
  return el("div", kind, fill);
}

/** A bar with its number: the full one is a share of 1. */
export function gauge(kind, share, text) {
  return el("div", `gauge ${kind}`, bar("track", share), el("b", "", text));
}

/** Label and value pairs into a list, element by element, so that a selection in it survives. */
export function facts(list, pairs) {
  while (list.children.length > 2 * pairs.length) list.lastChild.remove();
  while (list.children.length < 2 * pairs.length) list.append(el("dt"), el("dd"));
  pairs.forEach(([label, value, kind], at) => {
    put(list.children[2 * at], label);
    put(list.children[2 * at + 1], value);
    list.children[2 * at + 1].className = kind || "";
  });
}

/** Label, value and a word more, a tile each; as ``facts``. */
export function showTiles(list, tiles) {
  if (list.children.length !== tiles.length) {
    list.replaceChildren(...tiles.map(() => el("div", "", el("dt"), el("dd", "", el("span"), el("small")))));
  }
  tiles.forEach(([label, value, more], at) => {
    const [name, shown] = list.children[at].children;
    put(name, label);
    put(shown.children[0], value);
    put(shown.children[1], more);
  });
}

/** ``ids``: of the rows, for who comes by a link. */
export function table(target, head, rows, more, ids = []) {
  const cell = (tag, [text, kind]) => {
    const made = el(tag, kind || "", text);
    if (tag === "th") made.scope = "col";
    return made;
  };
  const body = rows.map((row, at) => {
    const made = el("tr", "", ...row.map((one) => cell("td", one)));
    if (ids[at]) made.id = ids[at];
    return made;
  });
  if (rows.length === 0) body.push(el("tr", "", el("td", "quiet", "none yet")));
  if (more > 0) body.push(el("tr", "", el("td", "quiet", `and ${count(more)} more`)));
  target.replaceChildren(
    el("thead", "", el("tr", "", ...head.map((one) => cell("th", one)))),
    el("tbody", "", ...body),
  );
}

// -- numbers and times as text ----------------------------------------------------------------

export const known = (value) => value !== null && value !== undefined;

export function count(value) {
  if (!known(value)) return "–";
  if (Math.abs(value) < 1e5) return Math.round(value).toLocaleString("en");
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

export function perSecond(value) {
  if (!known(value)) return "–";
  return value < 10 && value !== 0 ? value.toFixed(1) : count(value);
}

export function bytes(value) {
  if (!known(value)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) [value, at] = [value / 1000, at + 1];
  return `${value.toFixed(at && value < 100 ? 1 : 0)} ${units[at]}`;
}

export function seconds(value) {
  if (!known(value)) return "–";
  if (value < 0.001) return "< 1 ms";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 100) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86400)} d`;
}

export function clockTime(ms, fraction = false) {
  const time = new Date(ms);
  if (Number.isNaN(time.getTime())) return "–";
  const text = time.toLocaleTimeString("en-GB");
  return fraction ? `${text}.${String(time.getMilliseconds()).padStart(3, "0")}` : text;
}

export function fullTime(ms) {
  const time = new Date(ms);
  return Number.isNaN(time.getTime()) ? "–" : time.toISOString();
}

/** Where the reader is, as all times of day on the page. */
export function dateAndTime(ms) {
  const time = new Date(ms);
  return Number.isNaN(time.getTime()) ? "–" : `${time.toLocaleDateString("sv")} ${clockTime(ms, true)}`;
}

// -- the colours of stages --------------------------------------------------------------------

let places = new Map(); // of the stages, in the order of the file

export function nameStages(stages) {
  places = new Map(stages.map((stage, at) => [stage.name, at]));
}

export const placeOf = (stage) => places.get(stage) ?? Infinity;
export const colourOf = (stage) => `s${(places.get(stage) ?? COLOURS - 1) % COLOURS}`;

export function mix(shares) {
  const made = el("div", "mix");
  shares.forEach(([name, share]) => {
    const piece = el("i", colourOf(name));
    piece.style.width = `${100 * Math.max(share, 0)}%`;
    piece.title = `${name}: ${Math.round(100 * share)} %`;
    made.append(piece);
  });
  return made;
}
