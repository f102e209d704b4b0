// The hosts that share slots with this one: who is there, and what runs where.
import { h, text, attr, keyed, number, span, since } from "/dom.js";
import { actFleet } from "/act.js";
import { table } from "/parts.js";

export function hosts(root) {
  const stores = h("div"), none = h("p.none", { hidden: true }, "No consumer shares its slots with other hosts: see lock in the file.");
  root.append(h("h1", {}, "Hosts"), stores, none);
  return {
    status: (st) => {
      none.hidden = (st.locks || []).length > 0;
      keyed(stores, st.locks || [], (l) => l.name, store, (node, l) => update(node, l, st));
    },
    end: () => {},
  };
}

function store(l) {
  const section = h("section.store", {}, h("h2", {}, h("span.badge"), " ", h("span"), h("small")), h("p.bad", { hidden: true }));
  section.hosts = h("tbody");
  section.consumers = h("div");
  section.append(table(["Host", "State", "There for", "#Slots", "#Running", "Version"], section.hosts, "table.cards"), section.consumers);
  return section;
}

function update(node, l, st) {
  const all = [...l.hosts, ...l.missing];
  const [badge, name, words] = [node.querySelector(".badge"), node.querySelector("h2 span:not(.badge)"), node.querySelector("h2 small")];
  text(badge, l.state);
  attr(badge, "class", "badge conn-" + l.state);
  text(name, l.name);
  text(words, ` ${l.type}, ${all.filter((x) => x.state === "here").length} of ${all.length} ${all.length === 1 ? "host" : "hosts"} here, a lease lasts ${span(l.ttl_seconds)}`);
  const trouble = node.querySelector("p.bad");
  trouble.hidden = !l.error;
  text(trouble, l.error ? `${l.name} does not answer, what follows is what was seen last: ${l.error}` : "");
  keyed(node.hosts, all, id, hostRow, (tr, x) => updateHost(tr, x, l));
  const shared = st.consumers.filter((c) => all.some((x) => x.consumers.some((p) => p.name === c.name)));
  keyed(node.consumers, shared, (c) => c.name, consumer, (box, c) => updateConsumer(box, c, all, l));
}

// Two daemons of one machine have one name.
const id = (x) => `${x.host} ${x.started_at}`;
const named = (x) => x.host + (x.here ? " (this one)" : "");
const slotsOf = (l, host, name) => l.slots.filter((s) => s.host === host && (!name || s.slot.startsWith(name + "/"))).length;

function hostRow(x) {
  return h("tr", {}, h("th", { scope: "row" }, named(x)), h("td", {}, h("span.badge")), ...["There for", "Slots", "Running", "Version"].map((head, i) =>
    h(i === 1 || i === 2 ? "td.num" : "td", { "data-head": head })));
}

function updateHost(tr, x, l) {
  const [, state, there, slots, running, version] = tr.children;
  text(state.firstChild, presence(x));
  attr(state.firstChild, "class", "badge host-" + x.state);
  text(there, x.state === "here" ? since(x.since) : "");
  text(slots, number(slotsOf(l, x.host)));
  text(running, x.state === "here" ? number(x.consumers.reduce((sum, c) => sum + c.running, 0)) : x.state === "silent" ? "?" : "0");
  text(version, x.version);
}

const presence = (x) => (x.state === "silent" ? "silent" + (x.heard_at ? " for " + since(x.heard_at) : "") : x.state === "stopped" && x.heard_at ? `stopped ${since(x.heard_at)} ago` : x.state);

function consumer(c) {
  const rows = h("tbody");
  const acts = [["pause", "Pause everywhere"], ["resume", "Resume everywhere"], ["stop-workers", "Recycle everywhere"]].map(([verb, words]) =>
    h("button", { type: "button", onclick: () => actFleet(verb, c.name) }, words));
  const box = h("section", {}, h("h3", {}, h("a", { href: "#/c/" + encodeURIComponent(c.name) }, c.name), " ", h("small")), h("div.acts", {}, acts),
    table(["Host", "State", "#Running", "#Slots", "Why"], rows, "table.cards"));
  box.rows = rows;
  return box;
}

function updateConsumer(box, c, all, l) {
  const there = all.map((x) => [x, x.consumers.find((p) => p.name === c.name)]).filter(([, p]) => p);
  const here = there.filter(([x]) => x.state === "here").map(([, p]) => p);
  const sum = (key) => here.reduce((n, p) => n + p[key], 0);
  const held = l.slots.filter((s) => s.slot.startsWith(c.name + "/")).length;
  text(box.querySelector("h3 small"), `${number(sum("running"))} of ${number(sum("wanted"))} run on all hosts, ${number(held)} of ${number(c.max)} slots are taken`);
  keyed(box.rows, there, ([x]) => id(x), ([x]) => h("tr", {}, h("th", { scope: "row" }, named(x)), h("td", {}, h("span.badge")), h("td.num", { "data-head": "Running" }), h("td.num", { "data-head": "Slots" }), h("td")), (tr, [x, p]) => {
    const [, state, running, slots, why] = tr.children;
    const live = x.state === "here";
    text(state.firstChild, live ? p.state : x.state);
    attr(state.firstChild, "class", live ? `badge ${p.state}${p.healthy ? "" : " bad"}` : "badge host-" + x.state);
    text(running, live ? `${p.running}/${p.wanted}` : x.state === "silent" ? "?" : "0");
    text(slots, number(slotsOf(l, x.host, c.name)));
    text(why, live ? p.reason : x.state === "silent" ? `ran ${p.running} of ${p.wanted} when last heard of` : "its daemon was stopped");
  });
}
