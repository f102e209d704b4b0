// The frame: which view is shown, the live connection, and what both share.
import { h, text, attr, keyed, number, since, clock } from "/dom.js";
import { fleet } from "/fleet.js";
import { consumer } from "/consumer.js";
import { jobs, job } from "/jobs.js";
import { hosts } from "/hosts.js";
import { toast } from "/act.js";
import { lines } from "/stream.js";

const $ = (id) => document.getElementById(id);
let view = null, stream = null, timer = null, latest = null;

const views = [
  [/^#\/c\/(.+)$/, (root, m) => consumer(root, decodeURIComponent(m[1]))],
  [/^#\/j\/(.+)$/, (root, m) => job(root, decodeURIComponent(m[1]))],
  [/^#\/hosts$/, hosts],
  [/^#\/connections$/, connections],
  [/^#\/jobs$/, jobs],
  [/^#\/events$/, events],
  [/^/, fleet],
];

function route() {
  if (view) view.end();
  const root = $("main");
  root.replaceChildren();
  for (const [pattern, open] of views) {
    const m = pattern.exec(location.hash || "#/");
    if (m) { view = open(root, m); break; }
  }
  const at = (location.hash || "#/").replace(/^#\/c\/.*/, "#/").replace(/^#\/j\/.*/, "#/jobs");
  for (const a of document.querySelectorAll("nav a")) attr(a, "aria-current", a.getAttribute("href") === at ? "page" : null);
  document.title = `qsuper${location.hash.length > 2 ? ": " + decodeURIComponent(location.hash.replace(/^#\/([cj]\/)?/, "")) : ""}`;
  connect();
}

// connect opens the stream for the view that is shown. A page nobody looks at
// closes it.
function connect() {
  stream?.close();
  clearTimeout(timer);
  if (document.hidden) return;
  const names = (view.names || []).map((n) => "name=" + encodeURIComponent(n)).join("&");
  stream = new EventSource("/live?" + names);
  stream.addEventListener("status", (e) => {
    latest = JSON.parse(e.data);
    linked(true);
    frame(latest);
    view.status?.(latest);
  });
  stream.addEventListener("problem", (e) => banner(JSON.parse(e.data).error));
  stream.onerror = () => {
    linked(false);
    check();
    // The browser tries again by itself, unless the answer was no stream at all.
    if (stream.readyState === EventSource.CLOSED) { clearTimeout(timer); timer = setTimeout(connect, 2000); }
  };
  past(names);
}

// check finds out whether the session is over: the stream itself cannot say.
async function check() {
  try {
    const answer = await fetch("/v1/status");
    if (answer.status === 401) location.href = "/login";
  } catch { /* not reachable: the browser tries the stream again by itself */ }
}

async function past(names) {
  try {
    const answer = await fetch("/history?" + names);
    if (answer.ok) view.history?.(await answer.json());
  } catch { /* the next one will do */ }
  timer = setTimeout(() => past(names), 10000);
}

function linked(up) {
  const node = $("link");
  text(node, up ? "live" : "the daemon does not answer; trying again");
  attr(node, "class", up ? "link up" : "link down");
}

function frame(st) {
  text($("daemon"), st.daemon.name);
  $("nav-hosts").hidden = !(st.locks || []).length;
  const words = [];
  if (st.daemon.stopping) words.push("Everything is being stopped.");
  if (st.daemon.config.error) words.push(`A newer file was refused, the one of ${clock(st.daemon.config.loaded_at)} is in force: ${st.daemon.config.error}`);
  for (const c of st.connections) if (c.state === "down") words.push(`Connection ${c.name} is down since ${clock(c.since)}: ${c.error}`);
  for (const l of st.locks || []) if (l.state === "down") words.push(`Lock store ${l.name} does not answer: ${l.error}`);
  banner(words.join("\n"));
}

function banner(words) {
  const node = $("banner");
  text(node, words);
  node.hidden = !words;
}

function simple(root, title, heads, rows) {
  const body = h("tbody");
  root.append(h("h1", {}, title), h("div.scroll", {}, h("table.cards", {}, h("thead", {}, h("tr", {}, heads.map((t, i) => h(i > 2 && i < 7 ? "th.num" : "th", { scope: "col" }, t)))), body)));
  return { status: (st) => rows(body, st), end: () => {} };
}

function connections(root) {
  return simple(root, "Connections", ["Name", "Type", "State", "For", "Answers in", "Looks", "Unanswered", "What it says"], (body, st) =>
    keyed(body, st.connections, (c) => c.name, (c) => h("tr", {}, h("th", { scope: "row" }, c.name), h("td", {}, c.type), h("td", {}, h("span.badge")), ...["For", "Answers in", "Looks", "Unanswered"].map((head) => h("td.num", { "data-head": head })), h("td")), (tr, c) => {
      const [, , state, age, ms, looks, failed, error] = tr.children;
      text(state.firstChild, c.state);
      attr(state.firstChild, "class", `badge conn-${c.state}`);
      text(age, since(c.since));
      text(ms, c.state === "up" ? c.latency_ms.toFixed(1) + " ms" : "");
      text(looks, number(c.probes));
      text(failed, number(c.failures));
      text(error, c.error);
    }));
}

// events shows transitions as they come, the newest on top.
function events(root) {
  const body = h("tbody");
  root.append(h("h1", {}, "Events"), h("div.scroll", {}, h("table.events", {}, h("thead", {}, h("tr", {}, ["When", "Consumer", "Process", "From", "To", "Why"].map((t, i) => h(i === 2 ? "th.num" : "th", { scope: "col" }, t)))), body)));
  const put = (e) => {
    body.prepend(h("tr", {}, h("td", {}, clock(e.at)), h("th", { scope: "row" }, e.consumer ? h("a", { href: "#/c/" + encodeURIComponent(e.consumer) }, e.slot === undefined ? e.consumer : `${e.consumer}/${e.slot}`) : ""),
      h("td.num", {}, e.pid || ""), h("td", {}, e.from || ""), h("td", {}, e.to ? h("span.badge." + e.to, {}, e.to) : ""), h("td", {}, e.reason)));
    if (body.children.length > 500) body.lastElementChild.remove();
  };
  const stop = lines("/v1/events?follow=true&n=200", () => body.replaceChildren(), put, (words) => toast("Events: " + words, true));
  return { status: () => {}, end: stop };
}

addEventListener("hashchange", () => { route(); $("main").focus({ preventScroll: true }); });
document.addEventListener("visibilitychange", () => (document.hidden ? (stream?.close(), clearTimeout(timer)) : connect()));
addEventListener("keydown", (e) => {
  if (e.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName) && $("filter")) { $("filter").focus(); e.preventDefault(); }
});
route();
