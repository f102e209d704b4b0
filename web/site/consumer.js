// One consumer: graphs, gates with evidence, slots, last exits, live log.
import { h, text, attr, keyed, number, bytes, span, since, clock } from "/dom.js";
import { spark, draw } from "/chart.js";
import { act, verbsFor } from "/act.js";
import { badge } from "/fleet.js";
import { lines } from "/stream.js";

const points = 360;
const keptLines = 1000;

export function consumer(root, name) {
  const head = h("div.head", {}, h("h1", {}, name, " ", h("span.badge")), h("p.why"), h("div.acts"));
  const graphs = [["Messages waiting", "ready", number], ["Oldest message", "oldest_seconds", span], ["Instances running", "running", number]].map(([label, key, show]) => {
    const svg = spark(360, 80, `${label}, last hour`);
    const now = h("b");
    return { key, svg, now, show, box: h("figure", {}, h("figcaption", {}, label, " ", now), svg, h("small")) };
  });
  const gates = h("tbody"), slots = h("tbody"), exits = h("tbody");
  const log = h("pre.log", { tabindex: 0, role: "log", "aria-label": `Output of ${name}` });
  const follow = h("input", { type: "checkbox", checked: true });
  const size = h("small");
  root.append(head, h("div.graphs", {}, graphs.map((g) => g.box)),
    section("Why it runs, or does not", table(["Gate", "State", "Evidence"], gates)),
    section("Instances", table(["Slot", "Phase", "#Process", "#For", "#Memory", "#CPU", "#Run", "Last exit", ""], slots), size),
    section("Last exits", table(["When", "Slot", "How", "#Ran for"], exits)),
    section("Output", h("label.follow", {}, follow, " follow"), log));
  const output = tail(name, log, follow);
  const explain = explained(name, gates, exits);
  return {
    names: [name],
    status: (st) => {
      const c = st.consumers[0];
      if (!c) return;
      badge(head.querySelector(".badge"), c);
      text(head.children[1], c.reason);
      actions(head.lastElementChild, c);
      const live = { ready: c.queue?.ready, oldest_seconds: c.queue?.oldest_seconds, running: c.running };
      for (const g of graphs) {
        text(g.now, live[g.key] === undefined ? "unknown" : g.show(live[g.key]));
        g.box.hidden = g.key !== "running" && !c.queue;
      }
      keyed(slots, c.slots || [], (s) => s.slot, slotRow, (tr, s) => updateSlot(tr, s, name));
      text(size, (c.slots || []).length > 200 ? `${c.slots.length} slots` : "");
    },
    history: (all) => {
      const series = all[name];
      for (const g of graphs) {
        const values = series?.[g.key] || [];
        draw(g.svg, values, points);
        const known = values.filter((v) => v !== null).length;
        text(g.box.lastElementChild, known > 1 ? `highest ${g.show(Math.max(...values))}, over ${span((values.length - 1) * series.step_seconds)}` : known ? "just begun" : "nothing known yet");
      }
    },
    end: () => { output(); explain(); },
  };
}

const section = (title, ...children) => h("section", {}, h("h2", {}, title), ...children);

// table heads that begin with # stand over numbers.
const table = (heads, body) => h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, heads.map((t) =>
  h(t[0] === "#" ? "th.num" : "th", { scope: "col" }, t.replace("#", ""))))), body));

function actions(box, c) {
  const verbs = verbsFor(c);
  if (box.dataset.verbs === verbs.join()) { box.consumer = c; return; }
  box.dataset.verbs = verbs.join();
  box.consumer = c;
  const label = { "stop-workers": "Recycle" };
  box.replaceChildren(...verbs.map((v) => h("button", { type: "button", onclick: () => act(v, c.name, box.consumer.wanted) },
    label[v] || v[0].toUpperCase() + v.slice(1))));
}

function slotRow(s) {
  return h("tr", {}, h("th", { scope: "row" }, s.slot), h("td", {}, h("span.badge")), h("td.num"), h("td.num"), h("td.num"), h("td.num"), h("td.num"), h("td.exit"),
    h("td.acts", {}, h("button.plain", { type: "button", title: "Restart this instance" }, "↻")));
}

function updateSlot(tr, s, name) {
  const [, phase, pid, age, rss, cpu, run, exit, acts] = tr.children;
  text(phase.firstChild, s.phase);
  attr(phase.firstChild, "class", "badge " + s.phase);
  attr(phase, "title", s.reason);
  text(pid, s.pid || "");
  text(age, since(s.since));
  text(rss, s.pid ? bytes(s.rss_bytes) : "");
  text(cpu, s.pid ? s.cpu_percent.toFixed(0) + " %" : "");
  text(run, s.run || "");
  text(exit, s.last_exit ? `${s.last_exit.class}: ${how(s.last_exit)}` : s.reason);
  acts.firstChild.onclick = () => act("restart", `${name}/${s.slot}`);
}

export function how(e) {
  if (e.detail) return e.detail;
  return e.signal ? `signal ${e.signal}` : e.code < 0 ? "unknown" : `exit code ${e.code}`;
}

// explained asks for the gates each two seconds, while the page is looked at.
function explained(name, gates, exits) {
  let over = false, timer;
  const ask = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch("/v1/explain?name=" + encodeURIComponent(name));
        if (answer.ok && !over) show(await answer.json());
      } catch { /* the line at the top says that the daemon does not answer */ }
    }
    if (!over) timer = setTimeout(ask, 2000);
  };
  const show = (x) => {
    keyed(gates, x.gates, (g) => g.gate, (g) => h("tr", {}, h("th", { scope: "row" }, g.gate.replace("_", " ")), h("td", {}, h("span.badge")), h("td")), (tr, g) => {
      text(tr.children[1].firstChild, g.state);
      attr(tr.children[1].firstChild, "class", `badge gate-${g.state}`);
      text(tr.children[2], g.evidence);
    });
    keyed(exits, x.exits, (e) => `${e.slot}/${e.run}`, () => h("tr", {}, h("td"), h("td"), h("td"), h("td.num")), (tr, e) => {
      text(tr.children[0], clock(e.at));
      text(tr.children[1], e.slot);
      text(tr.children[2], `${e.class}: ${how(e)}`);
      text(tr.children[3], span(e.seconds));
    });
  };
  ask();
  return () => { over = true; clearTimeout(timer); };
}

// tail follows the output. Lines are collected and put into the page once a
// frame: a flood costs one change of the page, not one each line.
function tail(name, pre, follow) {
  let kept = [], waiting = false;
  const flush = () => {
    waiting = false;
    const text = kept.splice(0).slice(-keptLines).join("");
    pre.append(text);
    while (pre.childNodes.length > 60) pre.firstChild.remove();
    if (pre.textContent.length > 400000) pre.textContent = pre.textContent.split("\n").slice(-keptLines).join("\n");
    if (follow.checked) pre.scrollTop = pre.scrollHeight;
  };
  const put = (line) => {
    kept.push(line);
    if (!waiting) { waiting = true; requestAnimationFrame(flush); }
  };
  return lines(`/v1/logs?follow=true&n=100&name=${encodeURIComponent(name)}`, () => { kept = []; pre.replaceChildren(); },
    (l) => put(`${l.slot} │ ${l.text}\n`), (words) => put(`— ${words} —\n`));
}
