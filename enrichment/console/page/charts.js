// Drawings made of figures. Each has a label that says what is to be seen, and a table beside it.

import { h, s, figure } from "./dom.js";

export const PATHS = ["quantum", "classical", "random", "heuristic"];
const known = (path) => PATHS.includes(path) ? path : "random";
export const key = (path) => h("span", { class: `key ${known(path)}` }, path, " ");

// Two lines over time: what came in and what was answered, a second.
export function history(points) {
  if (points.length < 2) return h("p", { class: "quiet" }, "Rates are drawn from the second reading on.");
  const [wide, tall] = [640, 120];
  const most = Math.max(1, ...points.flat());
  const line = (which) => points.map((point, at) =>
    `${(at / (points.length - 1)) * wide},${tall - (point[which] / most) * (tall - 16)}`).join(" ");
  const last = points.at(-1);
  const label = `Events a second over the last ${points.length * 2} seconds: now ${Math.round(last[0])} in and `
    + `${Math.round(last[1])} answered, at most ${Math.round(most)}`;
  return [
    s("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": label },
      s("line", { class: "axis", x1: 0, x2: wide, y1: tall - 0.5, y2: tall - 0.5 }),
      s("text", { x: 4, y: 12 }, `${Math.round(most)}/s`),
      s("polyline", { class: "line classical", points: line(0) }),
      s("polyline", { class: "line quantum", points: line(1), "stroke-dasharray": "5 3" })),
    h("figcaption", {}, h("span", { class: "key classical" }, "in "), h("span", { class: "key quantum" }, "answered (dashed) "),
      `${points.length * 2} s`),
  ];
}

// Shares of verdicts as one bar.
export function shares(counts, label) {
  const all = Object.values(counts).reduce((sum, one) => sum + one, 0) || 1;
  let at = 0;
  const bars = ["fresh", "stale", "fallback", "missing"].filter((name) => counts[name]).map((name) => {
    const bar = s("rect", { class: `v-${name}`, x: at, y: 0, width: (counts[name] / all) * 100, height: 10 });
    at += (counts[name] / all) * 100;
    return bar;
  });
  return h("div", { class: "stack" },
    s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": label }, bars));
}

// Samples by energy, one row of bars for each path: the lowest energies are at the left.
export function energies(found) {
  const paths = Object.keys(found.counts);
  const bins = found.edges.length - 1;
  const [wide, tall, left] = [640, 74, 76];
  const step = (wide - left) / bins;
  const rows = paths.map((path, row) => {
    const most = Math.max(1, ...found.counts[path]);
    const base = (row + 1) * tall;
    return [
      s("text", { x: 0, y: base - 24 }, path),
      s("line", { class: "axis", x1: left, x2: wide, y1: base, y2: base }),
      found.counts[path].map((count, bin) => s("rect", {
        class: `bar ${known(path)}`, x: left + bin * step + 1, width: Math.max(1, step - 2),
        y: base - (count / most) * (tall - 14), height: (count / most) * (tall - 14),
      }, s("title", {}, `${path}: ${count} between ${figure(found.edges[bin])} and ${figure(found.edges[bin + 1])}`))),
    ];
  });
  const bottom = paths.length * tall;
  const label = "Samples by energy. " + paths.map((path) =>
    `${path}: best ${figure(found.best[path])}, mean ${figure(found.mean[path])}`).join("; ");
  return s("svg", { viewBox: `0 0 ${wide} ${bottom + 20}`, role: "img", "aria-label": label }, rows,
    s("text", { x: left, y: bottom + 15 }, `energy ${figure(found.edges[0])} (better)`),
    s("text", { x: wide, y: bottom + 15, "text-anchor": "end" }, figure(found.edges.at(-1))));
}

// Values with intervals on one axis: rows are {name, kind, value, low, high}.
export function intervals(rows, label, { zero = false, least = null, most = null } = {}) {
  const shown = rows.filter((row) => row.value !== null && row.value !== undefined);
  if (!shown.length) return h("p", { class: "quiet" }, "Nothing is known yet.");
  const ends = shown.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]);
  if (zero) ends.push(0);
  const lowest = least ?? Math.min(...ends);
  const highest = Math.max(most ?? Math.max(...ends), lowest + 1e-9);
  const [wide, tall, left, right] = [640, 26, 190, 60];
  const x = (value) => left + ((value - lowest) / (highest - lowest)) * (wide - left - right);
  const lines = shown.map((row, at) => {
    const y = at * tall + tall / 2;
    const name = row.name.length > 26 ? `${row.name.slice(0, 25)}…` : row.name;
    return [
      s("text", { x: 0, y: y + 4 }, name, s("title", {}, row.name)),
      row.low === null || row.low === undefined ? null
        : s("line", { class: known(row.kind), "stroke-width": 3, x1: x(row.low), x2: x(row.high), y1: y, y2: y }),
      s("circle", { class: known(row.kind), cx: x(row.value), cy: y, r: 5 }),
      s("text", { x: wide, y: y + 4, "text-anchor": "end" }, figure(row.value)),
    ];
  });
  const said = shown.map((row) => `${row.name} ${figure(row.value)}`
    + (row.low === null || row.low === undefined ? "" : `, from ${figure(row.low)} to ${figure(row.high)}`)).join("; ");
  return s("svg", { viewBox: `0 0 ${wide} ${shown.length * tall + 6}`, role: "img", "aria-label": `${label}: ${said}` },
    zero ? s("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: shown.length * tall }) : null, lines);
}

// A case: members on a circle, what they share within it, a line for each tie.
export function ring(members, ties) {
  const [wide, tall] = [640, 420];
  const [cx, cy, outer, inner] = [wide / 2, tall / 2, 150, ties.length > 1 ? 62 : 0];
  const around = (at, all, radius) => {
    const angle = (2 * Math.PI * at) / all - Math.PI / 2;
    return { x: cx + radius * 1.35 * Math.cos(angle), y: cy + radius * Math.sin(angle) };
  };
  const places = new Map(members.map((member, at) => [member.id, around(at, members.length, outer)]));
  // What ties members stands near them, as far as all of it has room.
  const lean = (tie) => {
    const at = tie.members.map((one) => members.findIndex((member) => member.id === one)).filter((one) => one >= 0);
    const angles = at.map((one) => (2 * Math.PI * one) / members.length);
    return Math.atan2(angles.reduce((sum, a) => sum + Math.sin(a), 0), angles.reduce((sum, a) => sum + Math.cos(a), 0));
  };
  const ordered = [...ties].sort((one, other) => lean(one) - lean(other));
  const short = (text) => text.length > 16 ? `${text.slice(0, 15)}…` : text;
  const lines = [], shapes = [];
  ordered.forEach((tie, at) => {
    const here = around(at, ordered.length, inner);
    for (const one of tie.members) {
      const there = places.get(one);
      if (there) lines.push(s("line", { class: "tie", x1: here.x, y1: here.y, x2: there.x, y2: there.y }));
    }
    shapes.push(s("rect", { class: "shared", x: here.x - 7, y: here.y - 7, width: 14, height: 14 },
      s("title", {}, `${tie.entity} ${tie.id} ties ${tie.members.length}`)),
    s("text", { x: here.x, y: here.y + 22, "text-anchor": "middle" }, short(tie.id)));
  });
  members.forEach((member) => {
    const here = places.get(member.id);
    const share = Math.max(0, ...Object.values(member.memberships));
    const below = here.y >= cy;
    shapes.push(s("circle", { class: member.fraud_event_id || member.said === "analyst_fraud" ? "known" : "member", cx: here.x, cy: here.y, r: 6 + 8 * share },
      s("title", {}, `${member.entity} ${member.id}: highest membership ${figure(share)}`)),
    s("text", { x: here.x, y: below ? here.y + 28 : here.y - 20, "text-anchor": "middle" }, short(member.id)));
  });
  const label = `${members.length} members tied by ${ties.map((tie) => `${tie.entity} ${tie.id} (${tie.members.length})`).join(", ")}`;
  return s("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": label }, lines, shapes);
}
