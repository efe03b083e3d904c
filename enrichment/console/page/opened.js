// One thing opened up: a job, a case, the evidence, an entity or an event.

import { $, ask, duration, facts, figure, fill, h, id, number, part, table, tile, time, tree } from "./dom.js";
import { energies, intervals, key, ring } from "./charts.js";
import { state } from "./sections.js";

const ENDED = ["succeeded", "failed", "fallback_complete"];

// Whoever opens another thing before the first has come sees the other.
let asks = 0;

// Show a place, what is on its way, and then what came of it or why nothing did.
async function opening(where, title, made) {
  const place = $(where);
  const asked = String(++asks);
  place.dataset.asked = asked;
  place.hidden = false;
  fill(place, h("h3", {}, title), h("p", { role: "status" }, "One moment …"));
  place.focus();
  place.scrollIntoView({ block: "nearest" });
  try {
    const parts = await made();
    if (place.dataset.asked === asked) fill(place, h("h3", {}, title), parts);
  } catch (error) {
    if (place.dataset.asked === asked) fill(place, h("h3", {}, title), h("p", { class: "trouble" }, error.message));
  }
}

export function openJob(jobId, act) {
  return opening("job", ["Job ", id(jobId)], async () => {
    const { job, events } = await ask(`/v1/jobs/${part(jobId)}`);
    const first = events[0]?.at_ms ?? job.created_ms;
    const last = events.findLast((one) => Object.keys(one.durations_ms).length);
    const drawing = h("div", {});
    const draw = h("button", { type: "button", click: () => drawAgain(jobId, drawing, draw) }, "Draw it again: circuit, energies, quantum beside classical");
    const ended = ENDED.includes(job.state);
    return [
      facts("What the ledger says", [["state", [state(job.state), job.quarantined ? " (set aside)" : ""]], ["detail", job.detail],
        ["provider", [job.provider, job.chosen && job.chosen !== job.provider ? ` (begun with ${job.chosen})` : ""]],
        ["attempt", job.attempt], ["problems", job.problems], ["shots", number(job.shots)], ["shard", job.shard],
        ["claimed (UTC)", time(job.created_ms)], ["took", duration(job.updated_ms - job.created_ms)],
        ["allowed", duration(job.deadline_ms - job.created_ms)], ["cost", job.cost_micro ? job.cost_micro / 1e6 : "nothing"],
        ["experiment", job.experiment_id], ["spot check of", job.check_of], ["correlation id", job.correlation_id]]),
      h("h4", {}, "Stages"),
      last ? table("Milliseconds in each", [["stage", ([name]) => name.replace("_", " ")], ["ms", ([, ms]) => number(ms, 1), true]], Object.entries(last.durations_ms)) : null,
      table("Transitions", [["after", (one) => duration(one.at_ms - first), true], ["event", (one) => one.event], ["to", (one) => state(one.state_after)],
        ["by", (one) => one.provider], ["detail", (one) => one.detail || one.withheld]], events),
      differences(events),
      ended ? h("p", {}, draw) : h("p", { class: "quiet" }, "It can be drawn again once it has ended."),
      drawing,
      act ? orders(job, act) : null,
    ];
  });
}

function differences(events) {
  const rows = Object.entries(events.findLast((one) => Object.keys(one.differences).length)?.differences ?? {});
  if (!rows.length) return null;
  const names = ["energy_gap", "membership_gap", "histogram_distance", "random_membership_gap"];
  const cells = names.filter((name) => rows.some(([, one]) => name in one));
  return h("details", {}, h("summary", {}, `The circuit's samples beside its classical twin's, for ${rows.length} problems`),
    table("Differences, as recorded; 0 is the same", [["problem", ([name]) => id(name)],
      ...cells.map((name) => [name.replaceAll("_", " "), ([, one]) => figure(one[name]), true])], rows));
}

function orders(job, act) {
  const reason = h("input", { name: "reason", required: true, maxlength: 500 });
  const give = (order) => () => {
    if (!reason.reportValidity()) return;
    act("/v1/orders", { job_id: job.job_id, order, reason: reason.value }, `${order} of the job`);
  };
  const failed = ["failed", "fallback_complete"].includes(job.state);
  const open = !ENDED.includes(job.state);
  return h("fieldset", { class: "act" }, h("legend", {}, "Order"), h("label", {}, "Why", reason),
    h("button", { type: "button", disabled: !failed, click: give("retry") }, "Try it again"), " ",
    h("button", { type: "button", class: "grave", disabled: !open, click: give("cancel") }, "Want no answer of it"));
}

async function drawAgain(jobId, place, button, problem = null) {
  button.disabled = true;
  fill(place, h("p", { role: "status" }, "It is drawn again from its record; that takes some seconds."));
  const query = problem === null ? "" : `?problem=${problem}`;
  try {
    const told = await ask(`/v1/drawn/${part(jobId)}${query}`);
    const shown = told.problem;
    const pick = h("select", { "aria-label": "Problem", change: () => drawAgain(jobId, place, button, Number(pick.value)) },
      told.problems.map((row, at) => h("option", { value: at, selected: at === shown.number }, `${at}: ${row.nodes} nodes, ${row.ties} ties, lowest energy ${figure(row.energy)}`)));
    fill(place, h("label", {}, "Problem", pick), again(told.verdict),
      circuit(jobId, told, shown.number), samples(shown), beside(shown));
  } catch (error) {
    fill(place, h("p", { class: "trouble" }, error.message));
  }
  button.disabled = false;
}

const again = (verdict) => verdict.drawn
  ? h("p", { class: verdict.agrees ? "good" : "bad" }, verdict.agrees ? "Drawn again, it is the same as recorded." : "Drawn again, it is NOT the same as recorded.")
  : h("p", { class: "quiet" }, `Not drawn again: ${verdict.not_drawn}`);

function circuit(jobId, told, problem) {
  const made = told.problem.circuit;
  if (!made || !told.drawing) return h("p", { class: "quiet" }, "No circuit was run.");
  const { qubits, depth, gates, two_qubit_gates: two } = told.drawing;
  return h("figure", {}, h("h4", {}, "Circuit"),
    h("div", { class: "circuit", tabindex: "0", role: "region", "aria-label": "Circuit drawing, scrolls" },
      h("img", { src: `/v1/circuits/${part(jobId)}?problem=${problem}`, alt: `Circuit of ${qubits} qubits, depth ${depth}, ${two} two-qubit gates of ${gates}` })),
    h("figcaption", {}, `${made.template} ${made.version}, ${made.layers} layers: ${qubits} qubits, depth ${depth}, ${two} two-qubit gates of ${gates}`,
      made.device ? `; on ${made.device.processor}, depth ${made.device.depth}, ${made.device.two_qubit_gates} two-qubit gates` : ""),
    h("details", {}, h("summary", {}, "As text"), h("pre", { class: "table", tabindex: "0" }, told.drawing.text)));
}

function samples(shown) {
  const found = shown.energies;
  if (!found) return null;
  const paths = Object.keys(found.counts);
  return h("figure", {}, h("h4", {}, "Samples by energy"), energies(found),
    h("figcaption", {}, "Shots in each bin; a better sampler has more of them at the left. ",
      found.optimum === null ? "" : `Proven optimum ${figure(found.optimum)}.`),
    table("By path", [["path", key], ["best", (path) => figure(found.best[path]), true], ["mean", (path) => figure(found.mean[path]), true],
      ["distinct near the best", (path) => number(found.near_optima[path]), true],
      ["shots at the optimum", (path) => path in found.at_optimum ? `${number(100 * found.at_optimum[path], 1)} %` : "", true]], paths));
}

function beside(shown) {
  const rows = shown.nodes.flatMap((node) => Object.entries(node.memberships).map(([path, one]) =>
    ({ name: `q${node.index} ${node.id}`, kind: path, value: one.membership, low: one.low, high: one.high })));
  if (!rows.length) return null;
  const kinds = [...new Set(rows.map((row) => row.kind))];
  return h("figure", {}, h("h4", {}, "Membership, quantum beside classical"), intervals(rows, "Membership", { least: 0, most: 1 }),
    h("figcaption", {}, kinds.map(key), "with the 95 % interval of shot noise. Not probabilities."),
    Object.keys(shown.differences).length ? facts("Differences from the classical twin", Object.entries(shown.differences).map(([name, value]) => [name.replaceAll("_", " "), figure(value)])) : null);
}

export function openCase(caseId, pipeline, act) {
  return opening("case", ["Case ", id(caseId)], async () => {
    const { case: found, amount_scale: scale, taken_in_by: other } = await ask(`/v1/cases/${part(caseId)}`);
    const said = found.verdict;
    const bars = h("div", {}, h("p", { class: "quiet" }, "Intervals are read from the cache …"));
    membershipsOf(found, pipeline, bars);
    return [
      other ? h("p", { class: "trouble" }, `${caseId} has been taken in by ${other}.`) : null,
      h("div", { class: "halves" },
        h("figure", {}, ring(found.members, found.evidence), h("figcaption", {}, "Circles are members, the larger the higher their membership; squares are what they share; red: called fraud.")),
        h("div", {}, facts("The case", [["status", found.status], ["at risk", number(found.amount_at_risk_minor / scale, 2)],
          ["seen (UTC)", `${time(found.first_seen_ms)} to ${time(found.last_seen_ms)}`], ["shard", found.shard], ["job", id(found.job_id)],
          ["took in", found.merged.join(", ")], ["said", said ? `${said.kind} by ${said.decided_by || "somebody"}, ${time(said.decided_at_ms)}` : ""], ["note", said?.note ?? ""]]),
        table("What ties them", [["what", (one) => [one.entity, " ", id(one.id)]], ["members", (one) => number(one.members.length), true],
          ["events", (one) => number(one.events), true], ["amount", (one) => number(one.amount_minor / scale, 2), true]], found.evidence))),
      h("h4", {}, "Members"),
      table("Memberships as the case has them; not probabilities", [["member", (one) => [one.entity, " ", id(one.id)]],
        ["membership", (one) => Object.entries(one.memberships).map(([path, share]) => [key(path), figure(share), " "])],
        ["said", (one) => [one.said ?? "", one.fraud_event_id ? ` fraud: event ${one.fraud_event_id}` : ""]]], found.members),
      bars,
      act ? verdicts(found, act) : null,
    ];
  });
}

// Intervals are in the members' features, as the cache has them now.
async function membershipsOf(found, pipeline, place) {
  const rows = [];
  try {
    for (const member of found.members.slice(0, 20)) {
      const told = await ask(`/v1/features/${part(pipeline)}/${part(member.entity)}/${part(member.id)}?group=ring`);
      for (const [path, one] of Object.entries(told.groups[0].estimates)) {
        if ("membership" in one) rows.push({ name: `${member.id}`, kind: path, value: one.membership, low: one.membership_low, high: one.membership_high });
      }
    }
    fill(place, h("figure", {}, rows.length ? intervals(rows, "Membership", { least: 0, most: 1 }) : h("p", { class: "quiet" }, "The cache has no usable estimates of the members now."),
      h("figcaption", {}, [...new Set(rows.map((row) => row.kind))].map(key), "as the cache has them now, with the 95 % interval of shot noise.")));
  } catch (error) {
    fill(place, h("p", { class: "trouble" }, error.message));
  }
}

function verdicts(found, act) {
  const note = h("input", { name: "note", maxlength: 500 });
  const give = (verdict) => () => act("/v1/verdicts",
    { case_id: found.case_id, verdict, note: note.value, again: found.verdict !== null && found.verdict !== undefined }, `verdict on ${found.case_id}`);
  return h("fieldset", { class: "act" }, h("legend", {}, found.verdict ? "Replace the verdict" : "Your verdict"),
    h("label", {}, "Note", note),
    h("button", { type: "button", class: "grave", click: give("confirm") }, "It is fraud: confirm"), " ",
    h("button", { type: "button", click: give("dismiss") }, "It is none: dismiss"));
}

export function openEvidence() {
  return opening("evidence", "What the experiment shows now (the gate does not count it)", async () => {
    const { evidence: found } = await ask("/v1/evidence");
    const { counts } = found;
    const precision = Object.entries(found.paths).map(([path, one]) => ({ name: path, kind: path, ...one.figures.average_precision }));
    const pairs = Object.entries(found.differences).map(([name, one]) => ({ name, kind: name.split("-")[0], ...one }));
    const names = [...new Set(Object.values(found.paths).flatMap((one) => Object.keys(one.figures)))];
    const shown = (one) => one === undefined || one.value === null ? "not known" : figure(one.value) + (one.low === null || one.low === undefined ? "" : ` [${figure(one.low)}, ${figure(one.high)}]`);
    return [
      h("p", {}, `Experiment ${found.experiment_id || "none"}, since ${time(found.since_ms)}; intervals at ${number(100 * found.level, 1)} %.`),
      h("div", { class: "tiles" }, tile(number(counts.events), "events"), tile(number(counts.matured), "old enough to be known"),
        tile(number(counts.bad), "bad ones"), tile(number(counts.clusters), "rings and accounts resampled"), tile(number(counts.unknowable), "declined: never to be known")),
      h("h4", {}, "Average precision by path"), h("figure", {}, intervals(precision, "Average precision")),
      h("h4", {}, "Paired differences"), h("figure", {}, intervals(pairs, "Difference of average precision", { zero: true }),
        h("figcaption", {}, "On the same resamples; an interval that holds 0 shows nothing.")),
      table("All figures", [["figure", (name) => name.replaceAll("_", " ")],
        ...Object.entries(found.paths).map(([path, one]) => [path, (name) => shown(one.figures[name]), true])], names),
      table("Sampling, means over jobs", [["figure", ([name]) => name.replaceAll("_", " ")], ["", ([, one]) => shown(one), true]], Object.entries(found.sampling.figures)),
    ];
  });
}

export function openEntity(pipeline, entity, of) {
  return opening("found", [entity, " ", id(of)], async () => {
    const told = await ask(`/v1/features/${part(pipeline)}/${part(entity)}/${part(of)}`);
    return told.groups.map((group) => {
      const rows = Object.entries(group.estimates).filter(([, one]) => "membership" in one)
        .map(([path, one]) => ({ name: path, kind: path, value: one.membership, low: one.membership_low, high: one.membership_high }));
      return h("div", {}, h("h4", {}, group.group),
        h("p", {}, h("b", { class: group.usable ? "good" : "warn" }, group.verdict.name), ` (${group.verdict.reason})`, group.usable ? `, age ${duration(group.age_ms)}` : ""),
        Object.keys(group.values).length ? facts("Values", Object.entries(group.values)) : null,
        rows.length ? intervals(rows, "Membership", { least: 0, most: 1 }) : null,
        group.source ? h("ul", { class: "tree" }, tree(group.source, "where it is from")) : null);
    });
  });
}

export function openEvent(eventId, account) {
  return opening("found", ["Event ", id(eventId)], async () => {
    const told = await ask(`/v1/events/${part(eventId)}${account ? `?account=${part(account)}` : ""}`);
    return told.records.map((one) => {
      const { record } = one;
      const scores = Object.entries(record.scores).map(([name, value]) => ({ name, kind: name, value }));
      const word = (same) => same === null ? "not known" : same ? "yes" : h("b", { class: "bad" }, "NO");
      return h("div", {},
        h("div", { class: "tiles" }, tile(record.decision, "decision"), tile(figure(record.scores.served), `score, by ${record.path}`),
          tile(record.verdict.name, record.verdict.reason)),
        h("h4", {}, "Scores by path, 0 to 100"), intervals(scores, "Score", { least: 0, most: 100 }),
        table("Why", [["term", (reason) => reason.term], ["part in the score (log-odds)", (reason) => figure(reason.contribution), true]], record.reasons),
        h("h4", {}, "Lineage"),
        facts("Held against what it came from", [["scored again from itself, byte for byte", word(one.rescored.same)],
          ["in force then, as the record says", word(one.in_force.same)],
          ...one.features.map((each) => [`${each.used.role} ${each.used.group}, as used`, each.gone || word(each.same)])]),
        h("ul", { class: "tree" }, ["input", "features", "jobs", "batches", "in_force", "versions", "record"].map((name) => tree(one[name], name.replace("_", " ")))));
    });
  });
}
