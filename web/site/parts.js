// What the pages of a consumer and of a job have in common: tables, gates with
// their evidence, live output.
import { h, text, attr, keyed } from "/dom.js";
import { lines } from "/stream.js";

const keptLines = 1000;

export const section = (title, ...children) => h("section", {}, h("h2", {}, title), ...children);

// table heads that begin with # stand over numbers.
export const table = (heads, body, kind = "table") => h("div.scroll", { tabindex: 0 }, h(kind, {}, h("thead", {}, h("tr", {}, heads.map((t) =>
  h(t[0] === "#" ? "th.num" : "th", { scope: "col" }, t.replace("#", ""))))), body));

// facts are names with values: keyed by their name, so that only values change.
export function facts(node, list) {
  keyed(node, list.filter(([, value]) => value), ([name]) => name, ([name]) => h("div", {}, h("dt", {}, name), h("dd")), (n, [, value]) => text(n.lastElementChild, value));
}

// buttons offers verbs, and makes them anew only when they are others.
export function buttons(box, verbs, label, press) {
  box.press = press;
  if (box.dataset.verbs === verbs.join()) return;
  box.dataset.verbs = verbs.join();
  box.replaceChildren(...verbs.map((v) => h("button", { type: "button", onclick: () => box.press(v) }, label(v))));
}

export function how(e) {
  if (e.detail) return e.detail;
  return e.signal ? `signal ${e.signal}` : e.code < 0 ? "unknown" : `exit code ${e.code}`;
}

// gates is a table of them; those that are not configured are shown on request.
export function gates() {
  const body = h("tbody");
  const all = h("button.plain", { type: "button", "aria-expanded": "false", onclick: () => { open = !open; show(); } });
  let open = false, skipped = 0;
  const show = () => {
    attr(body, "class", open ? null : "brief");
    attr(all, "aria-expanded", String(open));
    text(all, open ? "Hide what is not configured" : `Show ${skipped} more that ${skipped === 1 ? "is" : "are"} not configured`);
    all.hidden = skipped === 0;
  };
  const update = (list) => {
    skipped = list.filter((g) => g.state === "skipped").length;
    keyed(body, list, (g) => g.gate, (g) => h("tr", {}, h("th", { scope: "row" }, g.gate.replace("_", " ")), h("td", {}, h("span.badge")), h("td")), (tr, g) => {
      attr(tr, "class", g.state === "skipped" ? "skipped" : null);
      text(tr.children[1].firstChild, g.state);
      attr(tr.children[1].firstChild, "class", `badge gate-${g.state}`);
      text(tr.children[2], g.evidence);
    });
    show();
  };
  return { box: section("Why it runs, or does not", table(["Gate", "State", "Evidence"], body, "table.gates"), all), update };
}

// explained asks for the gates each two seconds, while the page is looked at.
export function explained(name, show) {
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
  ask();
  return () => { over = true; clearTimeout(timer); };
}

// output is a section that follows what is printed.
export function output(name, prefix) {
  const log = h("pre.log", { tabindex: 0, role: "log", "aria-label": `Output of ${name}`, "aria-live": "off" });
  const follow = h("input", { type: "checkbox", checked: true });
  const box = section("Output", h("label.follow", {}, follow, " follow"), log);
  return { box, end: tail(name, log, follow, prefix) };
}

// tail puts lines into the page once a frame: a flood costs one change of the
// page, not one each line.
function tail(name, pre, follow, prefix) {
  let kept = [], waiting = false;
  const flush = () => {
    waiting = false;
    pre.append(kept.splice(0).slice(-keptLines).join(""));
    while (pre.childNodes.length > 60) pre.firstChild.remove();
    if (pre.textContent.length > 400000) pre.textContent = pre.textContent.split("\n").slice(-keptLines).join("\n");
    if (follow.checked) pre.scrollTop = pre.scrollHeight;
  };
  const put = (line) => {
    kept.push(line);
    if (!waiting) { waiting = true; requestAnimationFrame(flush); }
  };
  return lines(`/v1/logs?follow=true&n=100&name=${encodeURIComponent(name)}`, () => { kept = []; pre.replaceChildren(); },
    (l) => put(`${prefix(l)}${l.text}\n`), (words) => put(`— ${words} —\n`));
}
