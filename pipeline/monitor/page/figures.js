// The run in numbers: totals, lanes, slots and warnings.
import { $, bytes, clockTime, count, el, known, perSecond, put, seconds, showTiles, table } from "./elements.js";

const ROWS = 64; // of a table

export function showTotals({ inputs, totals, rates, latency, restarts, spans, dead_letters: letters }) {
  const restarted = restarts.reduce((sum, one) => sum + one.count, 0);
  const minute = `of the last ${seconds(spans.quantiles_seconds)}`;
  const tiles = [
    ["Results", count(totals.windows), `${perSecond(rates.windows_per_second)} a second`],
    ["Records", count(totals.records), `${perSecond(rates.records_per_second)} a second`],
    ["Latency p50", seconds(latency.p50_seconds), minute],
    ["Latency p99", seconds(latency.p99_seconds), minute],
    ["Lag", count(lagOf(inputs)), "records to be read"],
    ["Late", count(totals.fates.late), "came after their window"],
    ["Dead letters", count(deadOf(letters)), letters.map((one) => one.reason).join(", ") || "could not be used"],
    ["Restarts", count(restarted), restarts.map((one) => `${one.role}: ${one.cause}`).join(", ") || "of actors"],
  ];
  showTiles($("totals"), tiles);
}

const deadOf = (letters) => letters.reduce((sum, one) => sum + one.count, 0);

function lagOf(inputs) {
  const found = inputs.map((input) => input.lag_records).filter(known);
  return found.length ? found.reduce((sum, lag) => sum + lag, 0) : null;
}

export function showLanes({ inputs, lanes }) {
  const names = inputs.map((one) => one.name);
  const head = [["lane", "number"], ["slot", "number"], ["open windows", "number"],
    ...names.map((name) => [`${name}: read / end, clock`, "number"]), ["lag", "number"], ["waits for", "words"]];
  const shown = lanes.length > ROWS ? [...lanes].sort((a, b) => worth(b) - worth(a)).slice(0, ROWS) : lanes;
  const rows = shown.map((lane) => [
    [String(lane.lane), "number"], [String(lane.slot), "number"], [count(lane.open_windows), "number"],
    ...names.map((name) => [readTo(lane, name), "number"]),
    [count(lane.lag_records), "number"], [inItsRow(lane.waiting), "words"],
  ]);
  table($("lanes"), head, rows, lanes.length - rows.length, shown.map((lane) => `lane-${lane.lane}`));
}

/** Where there are too many lanes for one table, those are shown that wait or are behind. */
const worth = (lane) => (lane.overdue || lane.full ? 1e12 : 0) + (lane.lag_records ?? 0);

/** How far an input is read in a lane: offsets, and its clock below. */
function readTo(lane, name) {
  const end = known(lane.ends[name]) ? count(lane.ends[name]) : "?";
  const at = lane.clocks?.[name];
  const clock = known(at) ? el("small", "quiet", clockTime(1000 * at, true)) : null;
  return el("span", "read", `${count(lane.positions[name])} / ${end}`, clock);
}

export function showLetters({ dead_letters: letters }) {
  $("lettered").hidden = letters.length === 0;
  const rows = letters.map((one) => [[one.reason, ""], [count(one.count), "number"], [count(one.lately), "number"], [REASONS[one.reason] ?? "", "words"]]);
  table($("letters"), [["reason", ""], ["so far", "number"], ["last minute", "number"], ["what it means", ""]], rows);
}

const REASONS = {
  undecodable: "its payload is not of its type, or is damaged",
  "too-large": "it is over limits.record_bytes",
  future: "it lies more than windows.future_max ahead of its Kafka timestamp",
  "encode-failed": "a stage gave nothing for the window",
  "bad-record": "no stream id, or a time that cannot be read",
};

/** What a lane waits for, without what the row and its heading say already. */
const inItsRow = (words) => words?.replace(/^waiting for (.*) in lane \d+:/, "$1:") ?? "–";

export function showSlots({ inputs, slots, owners }) {
  const names = inputs.map((one) => one.name);
  const several = (owners ?? []).length > 1;
  const head = [["slot", "number"], ...(several ? [["owner", ""]] : []), ["lanes", ""], ["in flight", "number"], ["open", "number"],
    ...names.map((name) => [`clock of ${name}`, "number"])];
  const rows = slots.slice(0, ROWS).map((slot) => [
    [String(slot.slot), "number"], ...(several ? [[slot.owner ?? "on its way", ""]] : []), [slot.lanes.slice(0, 16).join(", ") + (slot.lanes.length > 16 ? " ..." : ""), ""],
    [bytes(slot.in_flight_bytes), "number"], [bytes(slot.open_bytes), "number"],
    ...names.map((name) => [known(slot.clocks[name]) ? clockTime(slot.clocks[name] * 1000, true) : "–", "number"]),
  ]);
  table($("slots"), head, rows, slots.length - rows.length, slots.map((slot) => `slot-${slot.slot}`));
}

export function showWarnings({ warnings }) {
  $("warned").hidden = warnings.length === 0;
  const lines = $("warnings");
  while (lines.children.length > warnings.length) lines.lastChild.remove();
  while (lines.children.length < warnings.length) lines.append(el("li"));
  warnings.forEach((words, at) => put(lines.children[at], words));
}
