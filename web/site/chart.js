// Small graphs as SVG paths: one path for the line, one for the area below it. A
// value that nobody knew is a gap, never a zero.
import { s, attr } from "/dom.js";

// spark makes a graph of a size in pixels; draw puts values into it.
export function spark(width, height, label) {
  return s("svg", { viewBox: `0 0 ${width} ${height}`, class: "spark", role: "img", "aria-label": label, preserveAspectRatio: "none" },
    s("path", { class: "area" }), s("path", { class: "line" }));
}

// fewest is how many points a graph has room for at least: a past of less than five
// minutes stays at the right edge, a longer one takes the whole width.
const fewest = 30;

// draw scales to the largest value.
export function draw(svg, values) {
  const slots = Math.max(fewest, values.length);
  const { width, height } = svg.viewBox.baseVal;
  const highest = Math.max(1, ...values.filter((v) => v !== null));
  const step = width / (slots - 1);
  const left = width - step * (values.length - 1);
  const y = (v) => (height - 1 - (v / highest) * (height - 3)).toFixed(1);
  let line = "", area = "", begin = null, x = 0;
  const close = () => { if (begin !== null) area += `L${x.toFixed(1)} ${height}L${begin.toFixed(1)} ${height}Z`; begin = null; };
  values.forEach((v, i) => {
    if (v === null) return close();
    x = left + i * step;
    const point = `${x.toFixed(1)} ${y(v)}`;
    line += (begin === null ? "M" : "L") + point;
    area += (begin === null ? "M" : "L") + point;
    if (begin === null) begin = x;
  });
  close();
  attr(svg.children[0], "d", area || "M0 0");
  attr(svg.children[1], "d", line || "M0 0");
}
