// The live page: asks /api/state once a second, and listens to /api/results.
import { $, clockTime, nameStages, put, seconds, url } from "./elements.js";
import { showAnswers } from "./answers.js";
import { showEvaluation } from "./evaluation.js";
import { showLanes, showLetters, showSlots, showTotals, showWarnings } from "./figures.js";
import { showFind } from "./find.js";
import { showFlow } from "./flow.js";
import { askHistory, forgetHistory } from "./history.js";
import { forgetResults, listen, showStreams } from "./results.js";
import { showSpeak } from "./speak.js";
import { beginTeaching, showTeaching } from "./teach.js";

const STATE_MS = 1000;

let state = null;
let lostAt = null;

async function askState() {
  try {
    const answer = await fetch(url("api/state"), { signal: AbortSignal.timeout(8000), cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()).slice(0, 200));
    const next = await answer.json();
    lostAt = null;
    const otherRun = state && (state.started !== next.started || state.model !== next.model);
    state = next;
    nameStages(state.stages);
    if (otherRun) {
      forgetResults();
      forgetHistory();
    }
    showState();
  } catch (error) {
    lostAt = lostAt ?? Date.now();
    showLost(error);
  }
  setTimeout(askState, STATE_MS);
}

function showLost(error) {
  const since = seconds(Math.max(0.001, (Date.now() - lostAt) / 1000));
  const silent = error instanceof TypeError || error.name === "TimeoutError";
  const why = silent ? "" : ` (${error.message})`;
  document.body.classList.toggle("stale", state !== null);
  $("trouble").hidden = false;
  put($("trouble"), `No answer from the pipeline${why} for ${since}. Asking again every second.`);
  $("ready").className = "ready gone";
  put($("ready"), "no answer");
}

function showState() {
  document.body.classList.remove("stale");
  $("trouble").hidden = true;
  document.title = `${state.name} · motet`;
  put($("name"), state.name);
  $("ready").className = state.ready ? "ready yes" : "ready";
  put($("ready"), state.ready ? "running" : "not ready");
  const host = { local: "in one process", ray: "on Ray" }[state.host] ?? "";
  const since = state.started ? `since ${clockTime(Date.parse(state.started))}` : "";
  const waiting = state.ready ? "" : state.not_ready;
  put($("about"), [host, since, waiting].filter(Boolean).join(", "));
  put($("model"), state.model);
  showAnswers(state);
  showTotals(state);
  showFlow(state);
  showEvaluation(state);
  showFind(state);
  showTeaching(state);
  showStreams(state);
  showLanes(state);
  showSlots(state);
  showLetters(state);
  showWarnings(state);
}

$("to-metrics").href = url("metrics");
$("to-state").href = url("api/state");
askState().then(() => {
  listen();
  askHistory();
});
showSpeak();
beginTeaching();
