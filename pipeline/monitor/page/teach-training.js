// A head from the labels: trained by a button, what it came to, put in force and taken back.
import { clockTime, data, el, known, seconds, table } from "./elements.js";

const KINDS = { auto: "auto: the best of these", naive_bayes: "naive Bayes", svm: "SVM", mlp: "MLP", lstm: "LSTM", cnn: "CNN" };

/** ``order``: sends "train", "stop", "deploy" or "rollback", with what belongs to it. */
export function showTraining(card, told, state, order) {
  const { training, heads } = told;
  const { target, kind } = parts(card, training);
  const now = training.now;
  const result = now?.running ? null : training.result;
  const wanted = JSON.stringify([training, heads, state.fusion.head, state.evaluation?.classes, Object.keys(told.counts).length]);
  if (target.dataset.shown === wanted) return;
  target.dataset.shown = wanted;
  const reads = target.querySelector(".teach-lines")?.open ?? false;
  const focused = document.activeElement?.closest("#teach-training") ? document.activeElement.dataset.order : null;
  const classes = Object.keys(told.counts).length;
  const inForce = heads.versions.find((one) => one.in_force);
  const fresh = result && result.sha256 !== inForce?.sha256;
  const buttons = [
    button("train", "Train", !now?.running && training.command && !training.unfit && classes > 1, (name) => order(name, { head: kind.value || null })),
    ...(now?.running ? [button("stop", "Stop", true, order)] : []),
    button("deploy", "Deploy", fresh, order),
    button("rollback", "Roll back", heads.before, order),
  ];
  target.replaceChildren(
    el("p", "teach-keys", ...buttons), ...inWords(told, classes), ...outcome(result),
    ...force(heads, state), ...live(state),
  );
  target.querySelector(".teach-lines")?.toggleAttribute("open", reads);
  if (focused) target.querySelector(`[data-order="${focused}"]`)?.focus();
}

/** What is chosen stays while the rest is drawn anew. */
function parts(card, { kinds, usual }) {
  if (card.childElementCount === 0) {
    const select = el("select");
    select.id = "teach-kind";
    const words = (name) => KINDS[name] ?? name;
    select.append(new Option(`as usual: ${words(usual)}`, ""), ...kinds.map((name) => new Option(words(name), name)));
    const choice = el("label", "quiet", "Kind of head ", select);
    choice.hidden = kinds.length < 2;
    card.append(el("h3", "", "The head"), choice, el("div"));
  }
  return { target: card.lastElementChild, kind: card.querySelector("#teach-kind") };
}

function button(name, words, can, order) {
  const made = el("button", "", words);
  made.type = "button";
  made.dataset.order = name;
  made.disabled = !can;
  made.addEventListener("click", () => {
    made.disabled = true; // one click is one order
    order(name);
  });
  return made;
}

/** What training needs, or how far it is. */
function inWords({ training: { command, now, unfit } }, classes) {
  if (unfit) return [el("p", "some", `No head can be trained for this file: ${unfit}.`)];
  if (!command) return [el("p", "quiet", "Training needs a Kafka: a process of its own reads the topics again.")];
  if (now?.running) {
    const bar = el("progress");
    if (known(now.share)) bar.value = now.share;
    bar.setAttribute("aria-label", now.step);
    return [el("p", "", `${now.step}, for ${seconds(now.seconds)} `, bar), ...lines(now.lines)];
  }
  if (now?.error) return [el("p", "failed", now.error), ...lines(now.lines)];
  if (classes < 2) return [el("p", "quiet", "Label windows of two classes at least, better some dozens of each.")];
  const shown = el("p", "quiet", "By hand: ", el("code", "", command));
  return now ? [] : [shown];
}

function lines(said) {
  if (said.length === 0) return [];
  return [el("details", "teach-lines", el("summary", "", "What it says"), el("pre", "", said.join("\n")))];
}

const share = (value) => (known(value) ? value.toFixed(3) : "–");

function outcome(result) {
  if (!result) return [];
  const parts = `${result.rows} windows of ${result.streams} streams, held out by ${result.split.by}`;
  const headline = el("p", "teach-accuracy", el("b", "", share(result.accuracy)), " right of what was held out");
  headline.dataset.accuracy = String(result.accuracy);
  const made = el("table");
  const head = [["class", ""], ["labels", "number"], ["held out", "number"], ["right", "number"], ["taken for it", "number"]];
  const rows = result.classes.map((one) => [[data(one.label), ""], ...[one.labelled, one.held_out, one.right, one.wrongly].map((n) => [String(n), "number"])]);
  table(made, head, rows);
  return [
    headline, el("p", "quiet", `${result.kind}: ${parts}; in training ${share(result.training)}, commonest class ${share(result.majority)}`),
    ...result.warnings.map((warning) => el("p", "some", warning)), scrolled(made),
  ];
}

/** A table that may be wider than its card: by keyboard it is scrolled as a region. */
function scrolled(made) {
  const found = el("div", "wide", made);
  Object.assign(found, { tabIndex: 0, role: "region", ariaLabel: "Held-out windows by class" });
  return found;
}

function force({ versions, problem, keep }, { fusion: { head } }) {
  if (problem) return [el("p", "failed", problem)];
  const found = versions.find((one) => one.in_force);
  const since = found?.deployed ? ` since ${clockTime(Date.parse(found.deployed))}` : "";
  const name = found?.sha256 ? `head ${found.sha256.slice(0, 12)}, ${found.kind}` : "no head";
  const taken = head?.sha256 === (found?.sha256 ?? null) && head?.everywhere;
  const line = el("p", taken ? "" : "some", `In force: ${name}${since}${taken ? ", in every slot" : ", taking over"}`);
  line.id = "teach-force";
  const more = found?.sha256 && keep ? [el("p", "quiet", "To keep it without this panel, in the file: ", el("code", "", keep))] : [];
  return [line, ...(head?.trouble ? [el("p", "failed", head.trouble)] : []), ...more];
}

function live({ evaluation }) {
  const classes = evaluation?.classes;
  if (!classes) return [];
  const line = el("p", "", `Live: ${share(classes.accuracy)} right of ${classes.windows} labelled answers`);
  line.id = "teach-live";
  return [line];
}
