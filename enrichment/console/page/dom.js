// Elements made from values, never from text that is parsed as HTML: whatever an id is, it is text.

const SVG = "http://www.w3.org/2000/svg";

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

// An element: h("td", {class: "figure"}, "12"). An attribute that is a function listens.
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(key, value === true ? "" : String(value));
    }
  }
  return add(element, children);
}

// A shape of a drawing.
export function s(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return add(element, children);
}

export const $ = (id) => document.getElementById(id);

// Replace what is in a container, and keep the focus where it was: `data-key` says on what.
export function fill(container, ...children) {
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  container.replaceChildren();
  add(container, children);
  if (focused) {
    const same = [...container.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused);
    if (same) same.focus({ preventScroll: true });
  }
  return container;
}

// A table with a caption; `columns` are [title, how to show a row, is it a figure].
export function table(caption, columns, rows) {
  const cell = ([, show, figure], row) => h("td", { class: figure ? "figure" : null }, show(row));
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, columns.map(([title, , figure]) =>
        h("th", { scope: "col", class: figure ? "figure" : null }, title)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, columns.map((column) => cell(column, row)))))));
}

export const number = (value, digits = 0) => value === null || value === undefined ? "not known"
  : value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });

export const figure = (value) => value === null || value === undefined ? "not known" : value.toFixed(3);

export const time = (ms) => ms ? new Date(ms).toISOString().slice(0, 19).replace("T", " ") : "";

export function duration(ms) {
  if (ms === null || ms === undefined) return "not known";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 7200000 ? `${Math.round(ms / 60000)} min` : `${(ms / 3600000).toFixed(1)} h`;
}

export const tile = (value, name, tone = "") => h("div", { class: "tile" }, h("b", { class: tone }, value), h("span", {}, name));

export const chip = (name, value) => h("span", { class: "chip" }, `${name} `, h("b", {}, number(value)));

// Names and values, one under the other.
export const facts = (caption, pairs) => h("div", { class: "table facts", tabindex: "0", role: "region", "aria-label": caption },
  h("table", {}, h("caption", {}, caption), h("tbody", {},
    pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
      .map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value))))));

export const id = (text) => h("span", { class: "id" }, text);

// A value of any shape as a tree that opens.
export function tree(value, name = "", open = false) {
  if (value === null || typeof value !== "object") {
    return h("li", {}, name ? h("b", {}, `${name}: `) : null, String(value));
  }
  const entries = Array.isArray(value) ? value.map((one, at) => [String(at), one]) : Object.entries(value);
  const inner = entries.length ? h("ul", { class: "tree" }, entries.map(([key, one]) => tree(one, key))) : "none";
  return h("li", {}, h("details", { open },
    h("summary", {}, `${name || "all of it"} (${entries.length})`), inner));
}

// What the API says. Throws an Error with the problem's own words.
export async function ask(path, options = {}) {
  const response = await fetch(path, { headers: { accept: "application/json" }, ...options });
  const said = await response.json().catch(() => ({ detail: `the answer is none of ours (${response.status})` }));
  if (!response.ok) {
    const wait = response.headers.get("retry-after");
    throw new Error((said.detail ?? JSON.stringify(said)) + (wait ? `; again in ${wait} s` : ""));
  }
  return said;
}

export const part = (text) => encodeURIComponent(text);

// Say something once, for eyes and screen readers alike.
let silence = 0;
export function say(text) {
  fill($("said"), h("p", {}, text));
  clearTimeout(silence);
  silence = setTimeout(() => fill($("said")), 8000);
}
