// The sections that are told live: each is drawn from the board, and only where it has changed.

import { $, chip, duration, figure, fill, h, id, number, table, tile, time } from "./dom.js";
import { history, key, shares } from "./charts.js";

const drawn = new Map();

// Whether a section's part of the board is another than the one that is shown.
function changed(name, value) {
  const now = JSON.stringify(value);
  if (drawn.get(name) === now) return false;
  drawn.set(name, now);
  return true;
}

const rate = (value) => value === null || value === undefined ? "not known" : `${number(value, value < 10 ? 1 : 0)}/s`;
const money = (minor, scale) => number(minor / scale, 2);

export const STATES = { succeeded: "good", failed: "bad", timed_out: "bad", fallback_complete: "warn" };
export const state = (name) => h("span", { class: STATES[name] ?? "" }, name.replace("_", " "));

export function show(board, open) {
  $("pipeline").textContent = board.pipeline;
  document.title = `${board.pipeline} · enrichment console`;
  trouble(board.trouble);
  if (changed("flow", [board.flow, board.answers])) flow(board);
  if (changed("freshness", board.answers.freshness)) freshness(board.answers.freshness);
  if (changed("jobs", [board.jobs_by_state, board.jobs, board.jobs_dropped])) jobs(board, open);
  if (changed("cases", [board.cases_by_status, board.cases, board.cases_dropped])) cases(board, open);
  if (changed("rollout", board.rollout)) rollout(board.rollout);
}

function trouble(found) {
  if (!changed("trouble", found)) return;
  const lines = Object.entries(found).map(([name, why]) => h("p", { class: "trouble" }, h("b", {}, `${name}: `), why));
  fill($("trouble"), lines).hidden = !lines.length;
}

function flow(board) {
  const { topics, stages } = board.flow;
  const name = (rest) => `${board.pipeline}.${rest}`;
  const enrich = stages.find((one) => one.stage === "enrich");
  const project = stages.find((one) => one.stage === "project");
  const sample = stages.find((one) => one.stage === "sample");
  const lag = (one) => one && one.lag !== null ? number(one.lag) : "not known";
  fill($("flow-tiles"),
    tile(rate(topics[name("events")]?.per_s), "events in"),
    tile(rate(enrich?.per_s), "answered"),
    tile(lag(enrich), "waiting for an answer", enrich?.lag > 10000 ? "warn" : ""),
    tile(lag(sample), "micro-batches waiting", sample?.lag > 100 ? "warn" : ""),
    tile(lag(project), "features to project"),
    tile(number(topics[name("dead-letters")]?.end), "dead letters, ever", ""));
  fill($("flow-history"), history(board.flow.history));
  fill($("flow-stages"), table("Stages, as their groups have committed; what window holds is its horizon, and not late",
    [["stage", (one) => one.stage], ["reads", (one) => id(one.reads)], ["rate", (one) => rate(one.per_s), true],
      ["lag", (one) => one.held !== null ? `holds ${number(one.held)}` : one.lag === null ? "no such group" : number(one.lag), true]],
    stages));
  fill($("flow-topics"), table("Topics; rates of those written in transactions count markers, too",
    [["topic", ([topic]) => id(topic)], ["rate", ([, one]) => rate(one.per_s), true], ["written", ([, one]) => number(one.end), true]],
    Object.entries(topics)));
  const { sampled, unreadable, ...rest } = board.answers;
  const groups = ["verdicts", "paths", "decisions"].map((what) => h("div", {}, h("h4", {}, what),
    h("div", { class: "chips" }, Object.entries(rest[what]).map(([one, count]) =>
      h("span", { class: "chip" }, `${one} `, h("b", {}, `${number((100 * count) / Math.max(1, sampled), 1)} %`))))));
  fill($("answers"), h("h3", {}, "Answers of the last minute"),
    h("p", { class: "quiet" }, `a sample of ${number(sampled)}${unreadable ? `, ${unreadable} unreadable` : ""}`), sampled ? groups : null);
}

function freshness(groups) {
  if (!groups.length) return fill($("freshness-list"), h("p", { class: "quiet" }, "No answers in the last minute."));
  const share = (one, name) => `${number((100 * (one.verdicts[name] ?? 0)) / Math.max(1, one.sampled), 1)} %`;
  return fill($("freshness-list"), table("What answers of the last minute read, by kind of entity and group of features; fresh: what it was computed from has not changed",
    [["entity", (one) => one.kind], ["group", (one) => one.group],
      ["shares", (one) => shares(one.verdicts, ["fresh", "stale", "fallback", "missing"].map((name) => `${name} ${share(one, name)}`).join(", "))],
      ...["fresh", "stale", "fallback", "missing"].map((name) => [name, (one) => share(one, name), true]),
      ["median age", (one) => one.age_p50_ms === null ? "" : duration(one.age_p50_ms), true],
      ["sampled", (one) => number(one.sampled), true]], groups));
}

const opener = (text, open, name) => h("button",
  { type: "button", class: "plain id", "data-key": text, "aria-label": `Open ${name} ${text}`, click: () => open(text) }, text);

function jobs(board, open) {
  fill($("jobs-counts"), Object.entries(board.jobs_by_state).map(([name, count]) => chip(name.replace("_", " "), count)),
    board.jobs_dropped ? chip("more than are kept", board.jobs_dropped) : null);
  if (!board.jobs.length) return fill($("jobs-list"), h("p", { class: "quiet" }, "No jobs in the ledger."));
  return fill($("jobs-list"), table("Jobs that changed last; the id opens one",
    [["job", (one) => opener(one.job_id, open.job, "job")], ["state", (one) => [state(one.state), one.quarantined ? " (set aside)" : ""]],
      ["by", (one) => one.provider], ["problems", (one) => number(one.problems), true], ["shots", (one) => number(one.shots), true],
      ["took", (one) => duration(one.updated_ms - one.created_ms), true], ["changed (UTC)", (one) => time(one.updated_ms)]], board.jobs));
}

function cases(board, open) {
  fill($("cases-counts"), Object.entries(board.cases_by_status).map(([name, count]) => chip(name, count)),
    board.cases_dropped ? chip("more than are kept", board.cases_dropped) : null);
  if (!board.cases.length) return fill($("cases-list"), h("p", { class: "quiet" }, "No cases."));
  return fill($("cases-list"), table("Open cases first, those with the largest amount at risk at the top; the id opens one",
    [["case", (one) => opener(one.case_id, open.case, "case")], ["status", (one) => one.status], ["members", (one) => number(one.members), true],
      ["tied by", (one) => number(one.ties), true], ["at risk", (one) => money(one.amount_at_risk_minor, board.amount_scale), true],
      ["highest membership", (one) => Object.entries(one.highest).map(([path, share]) => [key(path), figure(share), " "])],
      ["last seen (UTC)", (one) => time(one.last_seen_ms)], ["said by", (one) => one.decided_by]], board.cases));
}

function rollout(told) {
  const caps = told.caps.map((cap) => h("p", { class: "trouble" },
    h("b", {}, `Nothing above ${cap.serve} serves${cap.pipeline === told.pipeline ? "" : ", in any pipeline"}: `),
    `since ${time(cap.issued_at_ms)}, by ${cap.issued_by}: ${cap.reason}`));
  const word = (one) => one.since_ms === null ? "as the pipeline's file says"
    : `since ${time(one.since_ms)}, by ${one.by}${one.evidence_id ? `, on evidence ${one.evidence_id}` : ""}: ${one.reason}`;
  fill($("rollout-list"), caps,
    table("How far each path is let in; the heuristic serves where no other does",
      [["path", (one) => key(one.path)], ["stage", (one) => one.stage === "canary" ? `canary for ${number(100 * one.share, 2)} %` : one.stage],
        ["serves", (one) => one.serves ? h("b", { class: "good" }, "yes") : one.capped ? h("b", { class: "bad" }, "kept from it by the switch") : "no"],
        ["on whose word", (one) => [one.override ? h("b", { class: "warn" }, "against the gate; ") : null, word(one)]]], told.paths),
    told.compute ? h("p", {}, `${told.compute.said}, by ${told.compute.issued_by}: ${told.compute.reason}`) : null,
    h("p", { class: "quiet" }, told.experiment ? `Experiment ${told.experiment.experiment.experiment_id} is running, since ${time(told.experiment.experiment.started_ms)}.` : "No experiment is running."),
    Object.entries(told.malformed).map(([name, why]) => h("p", { class: "trouble" }, `skipped by every process: ${name}: ${why}`)));
}
