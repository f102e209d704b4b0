// One consumer: graphs, gates with evidence, slots, last exits, live output.
import { h, text, attr, keyed, number, bytes, span, since, clock, parts } from "/dom.js";
import { spark, draw } from "/chart.js";
import { act, label, verbsFor } from "/act.js";
import { badge } from "/fleet.js";
import { section, table, facts, buttons, how, gates, explained, output } from "/parts.js";

export function consumer(root, name) {
  const head = h("div.head", {}, h("h1", {}, h("span", {}, parts(name)), " ", h("span.badge")), h("p.why"), h("dl.facts"), h("div.acts"));
  const graphs = [["Messages waiting", "ready", number], ["Oldest message", "oldest_seconds", span], ["Instances running", "running", number]].map(([label, key, show]) => {
    const svg = spark(360, 80, `${label}, last hour`);
    const now = h("b");
    return { key, svg, now, show, past: [], live: null, step: 0, box: h("figure", {}, h("figcaption", {}, label, " ", now), svg, h("small")) };
  });
  const slots = h("tbody"), exits = h("tbody"), count = h("small");
  const why = gates(), out = output(name, (l) => `${l.slot} │ `);
  root.append(head, h("div.graphs", {}, graphs.map((g) => g.box)), why.box,
    section(["Instances ", count], table(["Slot", "Phase", "#Process", "#For", "#Memory", "#CPU", "#Run", "Last exit", ""], slots, "table.slots")),
    section("Last exits", table(["When", "Slot", "How", "#Ran for"], exits)), out.box);
  const box = slots.parentElement.parentElement;
  attr(box, "class", "scroll tall");
  // Of a thousand instances a dozen is in sight: only those are kept up to date.
  const inSight = new IntersectionObserver((list) => {
    for (const e of list) {
      e.target.inSight = e.isIntersecting;
      if (e.isIntersecting) updateSlot(e.target, e.target.shown, name);
    }
  }, { root: box, rootMargin: "150px 0px" });
  const explain = explained(name, (x) => { why.update(x.gates); ended(exits, x.exits); });
  return {
    names: [name],
    status: (st) => {
      const c = st.consumers[0];
      if (!c) { if (st.jobs?.length) location.replace("#/j/" + encodeURIComponent(name)); return; }
      badge(head.querySelector(".badge"), c);
      text(head.children[1], c.reason);
      facts(head.children[2], told(c));
      buttons(head.lastElementChild, verbsFor(c), label, (v) => act(v, c.name, c.wanted));
      const live = { ready: c.queue?.ready, oldest_seconds: c.queue?.oldest_seconds, running: c.running };
      for (const g of graphs) {
        g.live = live[g.key] ?? null;
        text(g.now, g.live === null ? "unknown" : g.show(g.live));
        graph(g);
        g.box.hidden = g.key !== "running" && !c.queue;
      }
      const own = c.slots || [];
      keyed(slots, own, (s) => s.slot, (s) => { const tr = slotRow(s); inSight.observe(tr); return tr; }, (tr, s) => {
        tr.shown = s; // not slot, which elements have themselves
        if (tr.inSight) updateSlot(tr, s, name);
      });
      text(count, `${number(c.running)} of ${number(c.wanted)} run` + (own.length > c.wanted ? `, ${number(own.length)} slots` : ""));
    },
    history: (all) => {
      const series = all[name];
      for (const g of graphs) {
        g.past = series?.[g.key] || [];
        g.step = series?.step_seconds;
        graph(g);
      }
    },
    end: () => { out.end(); explain(); inSight.disconnect(); },
  };
}

// graph draws the past with what is so now at its end.
function graph(g) {
  const values = [...g.past, g.live], known = values.filter((v) => v !== null);
  draw(g.svg, values);
  text(g.box.lastElementChild, known.length > 1 ? `highest ${g.show(Math.max(...known))}, over ${span(g.past.length * g.step)}` : known.length ? "just begun" : "nothing known yet");
}

// told is what the head says of a consumer in numbers.
function told(c) {
  const q = c.queue;
  return [
    ["Memory", c.rss_bytes ? bytes(c.rss_bytes) : ""],
    ["Starts", number(c.starts) + (c.crashes ? `, ${number(c.crashes)} crashed` : "")],
    ["Printed", c.log_bytes ? bytes(c.log_bytes) : ""],
    ["Leases", c.lease_margin_seconds === undefined ? "" : `kept for ${span(c.lease_margin_seconds)} more if the store does not answer`],
    ["Queue", q ? `${q.name} on ${q.connection}` + (q.state === "ok" ? "" : `: ${q.state}`) : ""],
    ["In flight", q?.in_flight === undefined ? "" : number(q.in_flight)],
    ["Delayed", q?.delayed ? number(q.delayed) : ""],
    ["Output", c.output ? "cannot be written: " + c.output.error : ""],
  ];
}

function slotRow(s) {
  return h("tr", {}, h("th", { scope: "row" }, s.slot), h("td", {}, h("span.badge")), h("td.num"), h("td.num"), h("td.num"), h("td.num"), h("td.num"), h("td.exit"),
    h("td.acts", {}, h("button.plain", { type: "button", title: "Restart this instance", "aria-label": `Restart instance ${s.slot}` }, "↻")));
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
  text(exit, s.outdated ? `outdated: ${s.outdated}` : s.phase === "running" || !s.reason ? (s.last_exit ? `${s.last_exit.class}: ${how(s.last_exit)}` : "") : s.reason);
  attr(exit, "class", s.outdated ? "exit warn" : "exit");
  acts.firstChild.onclick = () => act("restart", `${name}/${s.slot}`);
}

function ended(body, list) {
  keyed(body, list, (e) => `${e.slot}/${e.run}`, () => h("tr", {}, h("td"), h("td"), h("td"), h("td.num")), (tr, e) => {
    text(tr.children[0], clock(e.at));
    text(tr.children[1], e.slot);
    text(tr.children[2], `${e.class}: ${how(e)}`);
    text(tr.children[3], span(e.seconds));
  });
}
