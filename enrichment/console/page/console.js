// The page: follows the board, opens what is asked for, and acts where somebody has signed in.

import { $, ask, fill, h, say } from "./dom.js";
import { openCase, openEntity, openEvent, openEvidence, openJob } from "./opened.js";
import { show } from "./sections.js";

const session = { can_act: false, signed_in: false, csrf: "", by: "" };
let board = null;

const signedIn = () => session.signed_in && session.by !== "";

// What can be opened. It is in the address, so that it can be sent to a colleague.
const open = {
  job: (id) => { location.hash = `job=${encodeURIComponent(id)}`; },
  case: (id) => { location.hash = `case=${encodeURIComponent(id)}`; },
};

function follow(hash) {
  const [name, id] = hash.replace(/^#/, "").split(/=(.*)/s);
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash === `#${name}` || link.hash === `#${name}s`;
    if (here) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  let wanted = "";
  try { wanted = decodeURIComponent(id ?? ""); } catch { return; }
  if (!wanted || !board) return;
  if (name === "job") openJob(wanted, signedIn() ? act : null);
  if (name === "case") openCase(wanted, board.pipeline, signedIn() ? act : null);
}

// One action, by name and with the session's word. What came of it is said.
async function act(path, body, what) {
  if (!confirm(`${what}: sure?`)) return;
  say(`${what}: on its way`);
  try {
    const told = await ask(path, {
      method: "POST",
      headers: { "content-type": "application/json", "x-enrichment-csrf": session.csrf },
      body: JSON.stringify({ ...body, by: session.by }),
    });
    const counts = Object.entries(told.counts ?? {}).map(([name, count]) => `${count} ${name}`).join(", ");
    say(`${what}: done${counts ? ` (${counts})` : ""}`);
    setTimeout(() => follow(location.hash), 1500);
  } catch (error) {
    say(`${what}: ${error.message}`);
  }
}

function lever() {
  if (!signedIn()) return fill($("switch"));
  const reason = h("input", { required: true, maxlength: 500 });
  const pull = (path, body, what) => () => {
    if (reason.reportValidity()) act(path, { ...body, reason: reason.value }, what);
  };
  return fill($("switch"), h("fieldset", {}, h("legend", {}, "Kill switch"), h("label", {}, "Why", reason),
    h("button", { type: "button", class: "grave", click: pull("/v1/rollout/kill", { serve: "heuristic" }, "heuristic alone serves") }, "Heuristic alone serves"), " ",
    h("button", { type: "button", class: "grave", click: pull("/v1/rollout/kill", { serve: "classical" }, "nothing above classical serves") }, "Nothing above classical serves"), " ",
    h("button", { type: "button", click: pull("/v1/rollout/restore", {}, "switch restored") }, "Restore")));
}

async function know(told) {
  Object.assign(session, told);
  session.by = sessionStorage.getItem("by") ?? "";
  const words = !session.can_act ? "This console is read-only: it was started without a token."
    : signedIn() ? `Signed in as ${session.by}. Whatever you do is recorded under that name.`
      : "Reading needs no sign-in. To pull the switch, order jobs or decide cases, sign in.";
  $("session-state").textContent = words;
  $("sign-in").hidden = !session.can_act || signedIn();
  $("sign-out").hidden = !signedIn();
  lever();
}

function listen() {
  $("evidence-ask").addEventListener("click", openEvidence);
  $("lookup-entity").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    if (board) openEntity(board.pipeline, given.get("entity").trim(), given.get("id").trim());
  });
  $("lookup-event").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    openEvent(given.get("id").trim(), given.get("account").trim());
  });
  $("sign-in").addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    try {
      const told = await ask("/session", {
        method: "POST", headers: { "content-type": "application/json" },
        body: JSON.stringify({ token: given.get("token") }),
      });
      sessionStorage.setItem("by", given.get("by").trim());
      event.target.reset();
      await know(told);
      follow(location.hash);
    } catch (error) {
      say(error.message);
    }
  });
  $("sign-out").addEventListener("click", async () => {
    const told = await ask("/session", { method: "DELETE" });
    sessionStorage.removeItem("by");
    await know({ csrf: "", ...told });
  });
  addEventListener("hashchange", () => follow(location.hash));
}

function state(words, tone) {
  if ($("state").textContent === words) return;
  $("state").textContent = words;
  $("state").className = tone;
}

function stream() {
  const source = new EventSource("/v1/stream");
  source.addEventListener("board", (event) => {
    const first = board === null;
    board = JSON.parse(event.data);
    show(board, open);
    state("live", "live");
    if (first) follow(location.hash);
  });
  source.addEventListener("error", () => {
    state("not connected: what is shown is the last that was known", "lost");
    // The browser tries again by itself, unless it was refused.
    if (source.readyState === EventSource.CLOSED) setTimeout(stream, 5000);
  });
}

listen();
stream();
know(await ask("/session").catch(() => ({})));
