// Jobs: the list of them, and a page for each.
import { h, text, attr, keyed, number, span, clock } from "/dom.js";
import { act, label, runJob } from "/act.js";
import { section, table, facts, buttons, how, gates, explained, output } from "/parts.js";

const well = ["clean", "empty", "stopped", "elsewhere"];

// jobs is the list.
export function jobs(root) {
  const body = h("tbody"), none = h("p.none", { hidden: true }, "The file names no jobs.");
  root.append(h("h1", {}, "Jobs"), table(["Name", "Schedule", "State", "Next", "Last", "How", "#Took", "#Skipped", ""], body, "table.cards"), none);
  return {
    status: (st) => {
      keyed(body, st.jobs || [], (j) => j.name, row, update);
      none.hidden = (st.jobs || []).length > 0;
    },
    end: () => {},
  };
}

function row(j) {
  return h("tr", {}, h("th", { scope: "row" }, h("a", { href: "#/j/" + encodeURIComponent(j.name) }, j.name)), h("td", { "data-head": "Schedule" }), h("td", {}, h("span.badge"), h("small")),
    h("td", { "data-head": "Next" }), h("td", { "data-head": "Last" }), h("td", { "data-head": "How" }), h("td.num", { "data-head": "Took" }), h("td.num", { "data-head": "Skipped" }),
    h("td.acts", {}, h("button.plain", { type: "button", "aria-label": `Run ${j.name} now`, onclick: () => runJob(j.name) }, "Run now")));
}

function update(tr, j) {
  const [, schedule, state, next, last, ended, took, skipped] = tr.children;
  attr(tr, "class", j.healthy ? null : "ill");
  text(schedule, j.schedule);
  attr(schedule, "title", j.timezone);
  badge(state.firstChild, j);
  text(state.lastChild, j.state === "waiting" && j.healthy || j.running ? "" : " " + j.reason);
  text(next, j.next ? clock(j.next) : "");
  attr(next, "title", j.note);
  const [when, words, bad] = latest(j);
  text(last, when);
  text(ended, words);
  attr(ended, "class", bad ? "bad" : null);
  text(took, j.last ? span(j.last.seconds) : "");
  text(skipped, j.skipped ? number(j.skipped) : "");
  attr(skipped, "title", j.last_skip?.reason);
}

// latest is the last fire, here or on another host: when, how, and whether badly.
function latest(j) {
  const here = j.last, there = j.elsewhere;
  if (there && (!here || Date.parse(here.at) < Date.parse(there.at))) return [clock(there.at), "on " + there.host, false];
  return here ? [clock(here.at), result(here), !well.includes(here.class)] : ["never", "", false];
}

const result = (e) => (e.class === "elsewhere" ? "on " + e.host : `${e.class}: ${how(e)}`);

function badge(node, j) {
  text(node, j.running ? "running" : j.state);
  attr(node, "class", `badge ${j.running ? "running" : j.state}${j.healthy ? "" : " bad"}`);
}

// job is the page of one.
export function job(root, name) {
  const head = h("div.head", {}, h("h1", {}, name, " ", h("span.badge")), h("p.why"), h("dl.facts"), h("div.acts"));
  const open = h("tbody"), past = h("tbody");
  const running = section("Runs now", table(["Fire", "Try", "#Process", "Note"], open));
  const why = gates(), out = output(name, () => ""), coming = planned(name);
  root.append(head, running, coming.box, section("Last fires", table(["Fire", "Result", "Ended", "#Took", "#Tries", "Note"], past, "table.cards")), why.box, out.box);
  const explain = explained(name, (x) => why.update(x.gates));
  return {
    names: [name],
    status: (st) => {
      const j = (st.jobs || [])[0];
      if (!j) return;
      badge(head.querySelector(".badge"), j);
      text(head.children[1], j.code === "scheduled" ? "" : j.reason); // what is next stands below
      facts(head.children[2], told(j));
      buttons(head.lastElementChild, ["run", ...verbs(j)], (v) => (v === "run" ? "Run now" : label(v)), (v) => (v === "run" ? runJob(name) : act(v, name)));
      running.hidden = !(j.fires || []).length;
      keyed(open, j.fires || [], (f) => f.at, () => h("tr", {}, h("th", { scope: "row" }), h("td"), h("td.num"), h("td")), (tr, f) => {
        text(tr.children[0], clock(f.at));
        text(tr.children[1], f.try);
        text(tr.children[2], f.pid || "not yet");
        text(tr.children[3], f.manual ? "by hand, " + f.note : f.note);
      });
      keyed(past, j.history || [], (e) => e.at, pastRow, fire);
      coming.next(j.next);
    },
    end: () => { out.end(); explain(); },
  };
}

const pastRow = () => h("tr", {}, h("th", { scope: "row" }), h("td"), h("td", { "data-head": "Ended" }), h("td.num", { "data-head": "Took" }), h("td.num", { "data-head": "Tries" }), h("td"));

function fire(tr, e) {
  const [at, ended, when, took, tries, note] = tr.children;
  text(at, clock(e.at));
  text(ended, result(e));
  attr(ended, "class", well.includes(e.class) ? null : "bad");
  text(when, clock(e.ended));
  text(took, e.class === "elsewhere" ? "" : span(e.seconds));
  text(tries, e.tries || "");
  text(note, e.manual ? "by hand, " + (e.note || "") : e.note);
}

function told(j) {
  const delay = j.next ? (Date.parse(j.starts) - Date.parse(j.next)) / 1000 : 0;
  return [
    ["Schedule", `${j.schedule} (${zone(j.timezone)})`],
    ["Next fire", j.next ? clock(j.next) + (delay > 0 ? `, starts ${span(delay)} later` : "") : "none"],
    ["Hosts", j.lock ? `each fire runs on one of those that share ${j.lock}` : ""],
    ["Skipped", j.skipped ? `${number(j.skipped)}, the last: ${clock(j.last_skip.at)}, ${j.last_skip.reason}` : ""],
  ];
}

function verbs(j) {
  if (j.state === "stopped") return ["start"];
  return j.code === "paused" ? ["resume", "stop"] : ["pause", "stop"];
}

// planned lists the fires to come, ten of them or those of a span, as `jobs
// explain` does: the place to see what a clock change makes of a schedule.
function planned(name) {
  const body = h("tbody"), note = h("small");
  const from = h("input", { type: "date", "aria-label": "From" });
  const days = h("select", { "aria-label": "For" }, [["", "the next ten"], ["24h", "one day"], ["72h", "three days"], ["168h", "a week"], ["744h", "a month"]].map(([v, t]) => h("option", { value: v }, t)));
  let asked = 0, seen;
  const ask = async () => {
    const turn = ++asked;
    const q = new URLSearchParams({ name, for: days.value || "87600h", n: days.value ? "500" : "10" });
    if (from.value) q.set("from", new Date(from.value + "T00:00").toISOString());
    try {
      const answer = await fetch("/v1/jobs/explain?" + q);
      if (turn !== asked) return;
      const x = await answer.json();
      if (!answer.ok) { text(note, x.error); return; }
      keyed(body, x.fires, (f) => f.at, () => h("tr", {}, h("th", { scope: "row" }), h("td", { "data-head": "On your clock" }), h("td")), (tr, f) => {
        text(tr.children[0], zoned(f.at));
        text(tr.children[1], clock(f.at));
        text(tr.children[2], f.note || "the schedule names it");
      });
      text(note, `${x.fires.length ? "" : "No fire. "}Time zone: ${zone(x.timezone)}.` + (x.jitter_seconds ? ` Starts up to ${span(x.jitter_seconds)} later, by its jitter.` : "") + (x.more && days.value ? " There are more." : ""));
    } catch { /* the line at the top says that the daemon does not answer */ }
  };
  from.addEventListener("change", ask);
  days.addEventListener("change", ask);
  return {
    box: section("Next fires", h("div.pick", {}, h("label", {}, "From ", from), h("label", {}, "show ", days)), table(["Fire", "On your clock", "Why"], body, "table.cards"), note),
    next: (at) => { if (at !== seen) { seen = at; ask(); } },
  };
}

const zone = (name) => (name === "Local" ? "that of the host" : name);

const weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

// zoned is a time as the job's own zone writes it: Sun 2026-03-29 03:00:00 +02:00.
function zoned(at) {
  const [day, rest] = at.split("T");
  const [, time, offset] = /^([\d:]+)(?:\.\d+)?(.*)$/.exec(rest);
  return `${weekdays[new Date(day + "T00:00Z").getUTCDay()]} ${day} ${time} ${offset === "Z" ? "UTC" : offset}`;
}
