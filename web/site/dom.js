// Making and changing elements. Text is always text: nothing here takes HTML.

const SVG = "http://www.w3.org/2000/svg";

// h makes an element: h("td.num", {title: "…"}, child, …). A child is an element,
// or anything that is shown as text; null and undefined are left out.
export function h(kind, attrs = {}, ...children) {
  const [name, ...classes] = kind.split(".");
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(" ");
  set(node, attrs);
  add(node, children);
  return node;
}

// s is h for SVG.
export function s(name, attrs = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  set(node, attrs);
  add(node, children);
  return node;
}

function set(node, attrs) {
  for (const [key, value] of Object.entries(attrs)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
}

function add(node, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

// text changes a node's text only if it is another: what does not change costs
// no layout, and a selection in it stays.
export function text(node, value) {
  const shown = value === null || value === undefined ? "" : String(value);
  if (node.textContent !== shown) node.textContent = shown;
}

// attr does the same for an attribute; null takes it away.
export function attr(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// keyed keeps the children of parent as one node per item, in order: make(item)
// makes one that is new, update(node, item) is called for every one. Nodes that
// stay are not touched otherwise, so focus and open menus stay as well.
export function keyed(parent, items, key, make, update) {
  const old = parent.keyed || new Map();
  const now = new Map();
  let at = parent.firstElementChild;
  for (const item of items) {
    const k = key(item);
    const node = old.get(k) || make(item);
    now.set(k, node);
    update(node, item);
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
  for (const [k, node] of old) if (!now.has(k)) node.remove();
  parent.keyed = now;
}

export const number = (n) => (n === null || n === undefined ? "–" : Number(n).toLocaleString("en"));

export function bytes(n) {
  if (!n) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return (n < 10 && i > 0 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}

// span is a duration in its two largest units.
export function span(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 10) return seconds.toFixed(1) + " s";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  let rest = Math.round(seconds);
  const out = [];
  for (const [size, unit] of parts) {
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n > 0 || out.length) out.push(n + " " + unit);
    if (out.length === 2) break;
  }
  return out.filter((p) => !p.startsWith("0 ")).join(" ") || "0 s";
}

export const since = (time) => (!time || time.startsWith("0001") ? "–" : span(Math.max(0, (Date.now() - Date.parse(time)) / 1000)));

// clock is a moment on the reader's clock, written as evidence and logs write theirs:
// Swedish is the language that writes 2026-11-22 12:39:08.
export const clock = (time) => (!time || time.startsWith("0001") ? "–" : new Date(time).toLocaleString("sv"));

// parts has a long name break where one of its parts ends.
export const parts = (name) => name.split(/(?<=[._-])/).flatMap((p, i) => (i ? [h("wbr"), p] : [p]));
