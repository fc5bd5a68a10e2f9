// The run in numbers: totals, lanes, slots and warnings.
import { $, bytes, clockTime, count, el, known, perSecond, put, seconds, showTiles, table } from "./elements.js";

const ROWS = 64; // of a table

export function showTotals({ inputs, totals, rates, latency, restarts, spans }) {
  const restarted = restarts.reduce((sum, one) => sum + one.count, 0);
  const minute = `of the last ${seconds(spans.quantiles_seconds)}`;
  const tiles = [
    ["Results", count(totals.windows), `${perSecond(rates.windows_per_second)} a second`],
    ["Records", count(totals.records), `${perSecond(rates.records_per_second)} a second`],
    ["Latency p50", seconds(latency.p50_seconds), minute],
    ["Latency p99", seconds(latency.p99_seconds), minute],
    ["Lag", count(lagOf(inputs)), "records to be read"],
    ["Late", count(totals.fates.late), "came after their window"],
    ["Dead letters", count(totals.fates.dead_letter), "could not be used"],
    ["Restarts", count(restarted), restarts.map((one) => `${one.role}: ${one.cause}`).join(", ") || "of actors"],
  ];
  showTiles($("totals"), tiles);
}

function lagOf(inputs) {
  const found = inputs.map((input) => input.lag_records).filter(known);
  return found.length ? found.reduce((sum, lag) => sum + lag, 0) : null;
}

export function showLanes({ inputs, lanes }) {
  const names = inputs.map((one) => one.name);
  const head = [["lane", "number"], ["slot", "number"], ["open windows", "number"],
    ...names.map((name) => [`${name}: read / end`, "number"]), ["lag", "number"], ["waits for", "words"]];
  const rows = lanes.slice(0, ROWS).map((lane) => [
    [String(lane.lane), "number"], [String(lane.slot), "number"], [count(lane.open_windows), "number"],
    ...names.map((name) => [`${count(lane.positions[name])} / ${known(lane.ends[name]) ? count(lane.ends[name]) : "?"}`, "number"]),
    [count(lane.lag_records), "number"], [inItsRow(lane.waiting), "words"],
  ]);
  table($("lanes"), head, rows, lanes.length - rows.length);
}

/** What a lane waits for, without what the row and its heading say already. */
const inItsRow = (words) => words?.replace(/^waiting for (.*) in lane \d+:/, "$1:") ?? "–";

export function showSlots({ inputs, slots }) {
  const names = inputs.map((one) => one.name);
  const head = [["slot", "number"], ["lanes", ""], ["in flight", "number"], ["open", "number"],
    ...names.map((name) => [`clock of ${name}`, "number"])];
  const rows = slots.slice(0, ROWS).map((slot) => [
    [String(slot.slot), "number"], [slot.lanes.slice(0, 16).join(", ") + (slot.lanes.length > 16 ? " ..." : ""), ""],
    [bytes(slot.in_flight_bytes), "number"], [bytes(slot.open_bytes), "number"],
    ...names.map((name) => [known(slot.clocks[name]) ? clockTime(slot.clocks[name] * 1000, true) : "–", "number"]),
  ]);
  table($("slots"), head, rows, slots.length - rows.length);
}

export function showWarnings({ warnings }) {
  $("warned").hidden = warnings.length === 0;
  const lines = $("warnings");
  while (lines.children.length > warnings.length) lines.lastChild.remove();
  while (lines.children.length < warnings.length) lines.append(el("li"));
  warnings.forEach((words, at) => put(lines.children[at], words));
}
