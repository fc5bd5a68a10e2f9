// The verdict and the questions that are asked of a run, in the server's words.
import { $, clockTime, el, put } from "./elements.js";

const LEVELS = { good: "Well", look: "Look", bad: "Trouble" };
const SHOWN = 4; // troubles beside the worst
const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g;
const QUESTIONS = { bottleneck: "", window: "each lane", batch: "each stage" }; // and who tells more

let saidKey = null;

/** Times in a sentence as the reader's own clock shows them, like all times of the page. */
const local = (words) => words.replace(TIME, (time) => clockTime(Date.parse(time), /\.(?!000)/.test(time)));

export function showAnswers({ answers, inputs, stages }) {
  if (!answers) return;
  showVerdict(answers.verdict, inputs, stages);
  for (const [name, each] of Object.entries(QUESTIONS)) {
    put($(`${name}-words`), local(answers[name].words));
    if (each) showMore(name, each, answers[name].more);
  }
}

function showVerdict({ level, cause, words, at, troubles }, inputs, stages) {
  const told = local(words);
  $("verdict").className = `verdict ${level}`;
  put($("level"), LEVELS[level]);
  put($("verdict-words"), told);
  const target = at && anchorOf(at, inputs, stages);
  $("verdict-where").hidden = !target;
  if (target) {
    $("verdict-where").href = `#${target}`;
    put($("verdict-where"), `Show ${at.kind} ${at.name}`);
  }
  const others = troubles.slice(1, 1 + SHOWN).map((one) => local(one.words));
  const more = troubles.length - 1 - others.length;
  if (more > 0) others.push(`And ${more} more.`);
  showLines($("troubles"), others);
  const key = [level, cause, at?.kind, at?.name].join(" "); // numbers in the words change every second
  if (key !== saidKey) put($("said"), `${LEVELS[level]}: ${told}`);
  saidKey = key;
}

function showMore(name, each, more) {
  const list = $(`${name}-more`);
  list.parentElement.hidden = more.length < 2;
  put(list.parentElement.querySelector("summary"), `${each[0].toUpperCase()}${each.slice(1)} (${more.length})`);
  showLines(list, list.parentElement.open ? more.map((one) => local(one.words)) : []);
}

function showLines(list, lines) {
  list.hidden = lines.length === 0;
  while (list.children.length > lines.length) list.lastChild.remove();
  while (list.children.length < lines.length) list.append(el("li"));
  lines.forEach((words, at) => put(list.children[at], words));
}

/** The id of the element that shows a part of the run; null where it has none. */
export function anchorOf({ kind, name }, inputs, stages) {
  const place = { input: inputs, stage: stages }[kind]?.findIndex((one) => one.name === name);
  if (place >= 0) return `${kind}-${place}`;
  return kind === "lane" || kind === "slot" ? `${kind}-${name}` : null;
}
