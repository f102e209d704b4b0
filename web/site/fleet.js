// The fleet at a glance: one row a consumer.
import { h, text, attr, keyed, number, bytes, span, since, parts } from "/dom.js";
import { spark, draw } from "/chart.js";
import { menu } from "/act.js";

// fleet builds the view; it returns what takes a status, a history, and the end.
export function fleet(root) {
  const filter = h("input", { type: "search", placeholder: "Filter by name, group or state  ( / )", "aria-label": "Filter consumers", id: "filter" });
  const totals = h("div.totals", { "aria-live": "off" });
  const body = h("tbody");
  const none = h("p.none", { hidden: true });
  root.append(h("div.bar", {}, totals, filter),
    h("table.fleet", {}, h("thead", {}, h("tr", {},
      ...["Consumer", "State", "Instances", "Waiting", "Oldest", "Memory", "Starts", ""].map((t, i) => h(i > 1 && i < 7 ? "th.num" : "th", { scope: "col" }, t)))), body), none);
  let status = null, past = {};
  const show = () => {
    if (!status) return;
    const wanted = filter.value.trim().toLowerCase();
    const list = status.consumers.filter((c) => !wanted || `${c.name} ${c.group || ""} ${c.state} ${c.code}`.toLowerCase().includes(wanted));
    keyed(body, list, (c) => c.name, row, update);
    sums(totals, status);
    none.hidden = list.length > 0;
    text(none, status.consumers.length ? "No consumer matches." : "The file names no consumers.");
    for (const tr of body.children) graph(tr, past[tr.consumer.name]);
  };
  filter.addEventListener("input", show);
  return { status: (st) => { status = st; show(); }, history: (hs) => { past = hs; show(); }, end: () => {} };
}

function sums(node, st) {
  let running = 0, wanted = 0, ready = 0, ill = 0, unknown = 0, memory = 0;
  for (const c of st.consumers) {
    running += c.running;
    wanted += c.wanted;
    memory += c.rss_bytes || 0;
    if (!c.healthy) ill++;
    if (c.queue?.ready !== undefined) ready += c.queue.ready;
    else if (c.queue) unknown++;
  }
  const cells = [["consumers", number(st.consumers.length)], [running === wanted ? "running" : `running, ${number(wanted)} wanted`, number(running)],
    ["messages waiting", number(ready) + (unknown ? ` (${unknown} unknown)` : "")], ["memory", bytes(memory)], ["not well", number(ill)]];
  keyed(node, cells, (c) => c[0].split(",")[0], () => h("div", {}, h("b"), h("span")), (n, c) => {
    text(n.firstElementChild, c[1]);
    text(n.lastElementChild, c[0]);
    attr(n, "class", c[0] === "not well" && ill ? "bad" : null);
  });
}

function row(c) {
  const tr = h("tr", {},
    h("th.name", { scope: "row" }, h("a", { href: "#/c/" + encodeURIComponent(c.name) }, parts(c.name)), h("small")),
    h("td.state", {}, h("span.badge"), h("small.why")),
    h("td.num.inst", {}, h("b"), h("progress", { max: 1, value: 0 })),
    h("td.num.wait", {}, h("b"), spark(100, 20, `Messages waiting in ${c.name}, last hour`)),
    h("td.num.old", {}, h("b"), spark(100, 20, `Oldest message of ${c.name}, last hour`)),
    h("td.num.mem", {}, h("b")),
    h("td.num.starts", {}, h("b"), h("small")),
    h("td.acts"));
  tr.consumer = c;
  tr.lastElementChild.append(menu(() => tr.consumer) || "");
  return tr;
}

function update(tr, c) {
  tr.consumer = c;
  const [name, state, inst, wait, old, memory, starts] = tr.children;
  attr(tr, "class", c.healthy ? null : "ill");
  text(name.children[1], c.group ? "@" + c.group : "");
  badge(state.children[0], c);
  text(state.children[1], c.reason || (c.output ? "output cannot be written" : ""));
  text(inst.children[0], `${c.running}/${c.wanted}`);
  attr(inst.children[1], "max", Math.max(c.max, 1));
  attr(inst.children[1], "value", c.running);
  attr(inst, "title", `${c.running} run, ${c.wanted} wanted, at most ${c.max}`);
  const q = c.queue;
  text(wait.children[0], !q ? "" : q.state === "ok" ? number(q.ready) : q.state);
  attr(wait, "title", q ? [q.in_flight !== undefined ? `${q.in_flight} in flight` : null, q.delayed ? `${q.delayed} delayed` : null, q.error].filter(Boolean).join(", ") : null);
  text(old.children[0], q?.oldest_seconds !== undefined && q.ready > 0 ? span(q.oldest_seconds) : "");
  text(memory.children[0], c.rss_bytes ? bytes(c.rss_bytes) : "");
  text(starts.children[0], number(c.starts));
  text(starts.children[1], c.crashes ? `${number(c.crashes)} crashed` : "");
}

export function badge(node, c) {
  text(node, c.state);
  attr(node, "class", `badge ${c.state}${c.healthy ? "" : " bad"}`);
  attr(node, "title", `for ${since(c.since)}`);
}

function graph(tr, series) {
  const graphs = [[tr.children[3].lastElementChild, "ready"], [tr.children[4].lastElementChild, "oldest_seconds"]];
  for (const [svg, key] of graphs) {
    const values = series?.[key] || [];
    const known = tr.consumer.queue && values.some((v) => v !== null);
    attr(svg, "hidden", known ? null : true);
    if (known && svg.end !== series.end) draw(svg, values);
    svg.end = series?.end;
  }
}
