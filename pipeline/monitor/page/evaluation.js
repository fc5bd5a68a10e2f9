// How good the answers are: labels that came since, and vectors that are unlike those of training.
import { $, clockTime, colourOf, count, data, el, gauge, known, put, seconds, showTiles, table } from "./elements.js";

const DRIFT_SHOWN = 2; // the end of a gauge, in units of where drift begins

export function showEvaluation({ evaluation, stages }) {
  const watched = stages.filter((one) => known(one.drift));
  $("evaluated").hidden = !evaluation && watched.length === 0;
  $("compared").hidden = !evaluation;
  if (evaluation) showLabels(evaluation);
  $("drifts").replaceChildren(...watched.map(drift));
}

function showLabels({ topic, span_seconds: span, unlabelled, classes, text, labels, label_delay_seconds: delay, problem }) {
  const of = `over the last ${seconds(span)}, against ${topic}; columns are slices of event time`;
  put($("labels-note"), problem ? `${of}. Not just now: ${problem}` : of);
  $("labels-note").classList.toggle("failed", Boolean(problem));
  const windows = classes ? `${count(classes.right)} of ${count(classes.windows)} windows` : "no label has met a window";
  const tiles = [
    ["Accuracy", share(classes?.accuracy), windows],
    ["Balanced", share(classes?.balanced_accuracy), "each label counts the same"],
    ["No answer", count(classes?.abstained), "counted as wrong"],
    ["Unlabelled", count(unlabelled), "windows so far"],
    ["Labels come", delay < 0 ? "before" : seconds(delay), "after their window, half of them"],
    ["Labels lost", count(labels.unmet + labels.unreadable), `${count(labels.met)} have met`],
  ];
  if (text) {
    const texts = `texts of ${text.stage}: ${count(text.texts)}, and ${count(text.waiting)} wait`;
    tiles.push(["Word errors", share(text.wer), texts], ["BLEU", known(text.bleu) ? text.bleu.toFixed(1) : "–", "0 to 100"]);
  }
  showTiles($("scores"), tiles);
  $("over-time").replaceChildren(...(classes?.over_time ?? []).map(column));
  $("confusion").parentElement.hidden = !classes;
  if (classes) showConfusion(classes);
}

const share = (value) => (known(value) ? `${(100 * value).toFixed(1)} %` : "–");

/** A slice of time: a column as high as its accuracy. */
function column({ start, windows, right }) {
  const fill = el("i");
  fill.style.height = `${(100 * right) / windows}%`;
  const made = el("div", "slice", fill);
  made.title = `${clockTime(Date.parse(start))}: ${right} of ${windows} right`;
  return made;
}

function showConfusion({ labels, confusion, other_labels: others }) {
  const head = [["true \\ answered", ""], ...labels.map((label) => [data(label), "number"]), ["no label", "number"]];
  const rows = confusion.map((row, at) => [
    [data(labels[at]), ""],
    ...row.map((number, answered) => [number ? count(number) : "·", answered === at ? "number right" : number ? "number wrong" : "number quiet"]),
  ]);
  table($("confusion"), head, rows, others);
}

function drift({ name, drift: score }) {
  const words = score >= 1 ? " is unlike what the head was trained on" : " is like what the head was trained on";
  const line = el("p", score >= 1 ? "some" : "", el("span", "swatch"), data(name), words);
  return el("div", `drift ${colourOf(name)}`, line, gauge("", score / DRIFT_SHOWN, score.toFixed(2)));
}
