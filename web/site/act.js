// What a person can do, each with a question first.
import { h, text } from "/dom.js";

const questions = {
  start: ["Start", (n) => `Start ${n}, also if it was stopped or paused by hand.`],
  stop: ["Stop", (n) => `Stop ${n} gracefully. It stays down, also over a restart of the daemon.`],
  restart: ["Restart", (n) => `Restart ${n} gracefully. One after another, it ends as soon as new instances crash.`],
  "stop-workers": ["Recycle", (n) => `Let every instance of ${n} finish its message, end, and come back.`],
  pause: ["Pause", (n) => `Let ${n} finish what runs and start nothing new.`],
  resume: ["Resume", (n) => `Let ${n} go on.`],
  scale: ["Scale", (n) => `How many instances of ${n}, until the next reload?`],
};

export const label = (verb) => questions[verb][0];

const $ = (id) => document.getElementById(id);

function ask(title, words, ok, count, way) {
  const dialog = $("ask");
  text($("ask-title"), title);
  text($("ask-text"), words);
  text($("ask-ok"), ok);
  $("ask-field").hidden = count === null;
  $("ask-count").value = count ?? "";
  $("ask-way").hidden = !way;
  $("ask-roll").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "ok"), { once: true }));
}

let hide;
export function toast(words, bad) {
  const t = $("toast");
  text(t, words);
  t.className = bad ? "bad shown" : "shown";
  clearTimeout(hide);
  hide = setTimeout(() => { t.className = ""; }, bad ? 12000 : 4000);
}

// act asks, then tells the daemon. It does not wait until it is true: the page
// shows that by itself.
export async function act(verb, name, running) {
  const [doing, words] = questions[verb];
  if (!await ask(`${doing} ${name}?`, words(name), doing, verb === "scale" ? running : null, verb === "restart" && !name.includes("/"))) return;
  const body = { verb, names: [name], wait: false };
  if ($("ask-roll").value) body.rolling = true;
  if ($("ask-roll").value === "surge") body.surge = "1";
  if (verb === "scale") body.count = Number($("ask-count").value);
  try {
    const reply = await tell("/v1/command", body);
    toast(reply.warning || `${doing}: ${name}`, Boolean(reply.warning));
  } catch (e) {
    toast(`${doing} ${name}: ${e.message}`, true);
  }
}

// actFleet tells every host that shares a consumer's slots, and says which of them
// could not be reached.
export async function actFleet(verb, name) {
  const [doing, words] = questions[verb];
  if (!await ask(`${doing} ${name} on all hosts?`, words(name + " on every host"), doing, null)) return;
  try {
    const reply = await tell("/v1/command", { verb, names: [name], wait: false, fleet: true });
    const missed = (reply.hosts || []).filter((x) => !x.done);
    toast(missed.length ? missed.map((x) => `${x.host}: ${x.error}`).join("; ") : `${doing}: ${name} on ${(reply.hosts || []).length} hosts`, missed.length > 0);
  } catch (e) {
    toast(`${doing} ${name}: ${e.message}`, true);
  }
}

// runJob starts a run of a job beside its schedule.
export async function runJob(name) {
  if (!await ask(`Run ${name} now?`, `Start a run of ${name} now, whatever its schedule says.`, "Run", null)) return;
  try {
    const reply = await tell("/v1/jobs/run", { name });
    toast(reply.skipped ? `${name} does not run: ${reply.skipped}` : `Run: ${name}`, Boolean(reply.skipped));
  } catch (e) {
    toast(`Run ${name}: ${e.message}`, true);
  }
}

async function tell(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const reply = await answer.json();
  if (!answer.ok) throw new Error([reply.error, reply.hint].filter(Boolean).join(": "));
  return reply;
}

// menu offers what makes sense in a consumer's state.
export function menu(consumer) {
  const verbs = verbsFor(consumer());
  const box = h("details.menu", { ontoggle: () => { if (box.open) fill(); } }, h("summary", { "aria-label": `Actions for ${consumer().name}` }, "⋯"), h("div"));
  const fill = () => {
    const c = consumer();
    box.lastElementChild.replaceChildren(...verbsFor(c).map((v) =>
      h("button", { type: "button", onclick: () => { box.open = false; act(v, c.name, c.wanted); } }, questions[v][0])));
    box.querySelector("button")?.focus();
  };
  box.addEventListener("keydown", (e) => {
    if (e.key === "Escape") { box.open = false; box.firstElementChild.focus(); }
    const list = [...box.querySelectorAll("button")];
    const i = list.indexOf(document.activeElement);
    if (e.key === "ArrowDown") { list[(i + 1) % list.length]?.focus(); e.preventDefault(); }
    if (e.key === "ArrowUp") { list[(i - 1 + list.length) % list.length]?.focus(); e.preventDefault(); }
  });
  return verbs.length ? box : null;
}

export function verbsFor(c) {
  if (c.state === "stopped") return ["start", "scale"];
  if (c.state === "held" && c.code === "paused") return ["resume", "stop"];
  return ["pause", "stop-workers", "restart", "scale", "stop"];
}

// One open menu is enough.
document.addEventListener("click", (e) => {
  for (const box of document.querySelectorAll("details.menu[open]")) if (!box.contains(e.target)) box.open = false;
});
