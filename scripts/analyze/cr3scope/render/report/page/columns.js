// Virtual ranges, before and behind the switch, and where each goes: three columns, broken to scale, with ribbons.

import {PAGE} from "./tables.js";
import {hex, size} from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000, WALL = 330, NEAR = 430, FAR = 570, OTHER = 670;
const TOP = 26, LEAST = 15, BREAK = 13;

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  if (text !== undefined) {
    element.textContent = text;
  }
  return element;
}

const tall = (bytes) => LEAST + 2 * Math.max(Math.log2(Number(bytes) / PAGE), 0) / 3;

// Ranges of one space from the top of the picture down, with what is between them.
function stacked(ranges) {
  let at = TOP, last = null;
  const placed = ranges.map((one) => {
    const range = {...one, first: BigInt(one.first), last: BigInt(one.last), phys: BigInt(one.phys), end: BigInt(one.end)};
    if (last !== null && range.first - last > 1n) {
      range.hole = range.first - last - 1n;
      at += BREAK;
    }
    range.y = at;
    range.height = tall(range.last - range.first + 1n);
    at += range.height;
    last = range.last;
    return range;
  });
  return {placed, end: at};
}

// Physical memory, cut where any range begins or ends, each part as high as the logarithm of its size.
function physical(ranges, height) {
  const edges = [...new Set(ranges.flatMap((one) => [one.phys, one.end + 1n]))].sort((a, b) => (a < b ? -1 : 1));
  const parts = edges.slice(1).map((edge, at) => {
    const first = edges[at], covering = ranges.filter((one) => one.phys < edge && one.end >= first);
    // Ranges that are drawn as one have frames from the first to the last, and not all between them.
    const spaces = covering.filter((one) => one.count === 1).map((one) => one.side);
    return {first, last: edge - 1n, used: covering.length > 0, isShared: new Set(spaces).size < spaces.length,
      height: covering.length ? 2 + Math.max(Math.log2(Number(edge - first) / PAGE), 0) : 5};
  });
  const total = parts.reduce((sum, part) => sum + part.height, 0) || 1, scale = Math.max((height - TOP) / total, 0.2);
  let y = TOP;
  for (const part of parts) {
    part.y = y;
    part.height *= scale;
    y += part.height;
  }
  return parts;
}

function ribbon(range, parts, from, to) {
  const first = parts.find((part) => part.first === range.phys), last = parts.findLast((part) => part.last <= range.end);
  if (!first || !last) {
    return null;
  }
  const [a, b, c, d] = [range.y, range.y + range.height - 1, first.y, last.y + last.height], middle = (from + to) / 2;
  const path = `M${from} ${a}C${middle} ${a} ${middle} ${c} ${to} ${c}L${to} ${d}C${middle} ${d} ${middle} ${b} ${from} ${b}Z`;
  return draw("path", {d: path, class: `ribbon ${colour(range.rights)}${range.unasked ? " unasked" : ""}`});
}

const colour = (rights) => (rights === "mixed" ? "mixed" : `r${rights.includes("w") ? "w" : ""}${rights.includes("x") ? "x" : ""}`);

function label(range) {
  const many = range.count > 1 ? `, ${range.count} ranges` : "";
  const what = range.name || (range.unasked ? "nobody asked for it" : "");
  return `${hex(range.first)} ${size(range.last - range.first + 1n)} ${range.rights}${many} ${what}`;
}

function column(svg, side, x, width, page, space) {
  for (const range of side.placed) {
    const group = draw("g", {class: `range ${colour(range.rights)}${range.unasked ? " unasked" : ""}${range.mended ? " mended" : ""}`});
    group.holds = (shown, virt) => shown === space && virt >= range.first && virt <= range.last;
    const words = label(range);
    group.append(draw("rect", {x, y: range.y, width, height: range.height - 1}),
      draw("text", {x: x + 5, y: range.y + 11}, words.length > 56 ? `${words.slice(0, 55)}…` : words),
      draw("title", {}, `${words}; to ${hex(range.phys)}..${hex(range.end)}${range.mended ? "; changed by a mend" : ""}`));
    group.addEventListener("click", () => page.ask(range.first, space));
    if (range.hole !== undefined) {
      svg.append(draw("text", {class: "hole", x: x + 5, y: range.y - 3}, `⋮ nothing mapped: ${size(range.hole)}`));
    }
    svg.append(group);
  }
}

// Marks the range in which the shown address lies.
export function mark(root, page) {
  for (const group of root.querySelectorAll(".range")) {
    group.classList.toggle("here", group.holds(page.space, page.virt));
  }
}

export function columns(root, page, ranges) {
  const number = page.spaces.indexOf(page.judged);
  const right = stacked(ranges), left = number > 0 ? stacked(page.data.ranges[number - 1]) : null;
  const height = Math.max(right.end, left ? left.end : 0) + 10;
  const all = [...(left ? left.placed.map((one) => ({...one, side: 0})) : []), ...right.placed.map((one) => ({...one, side: 1}))];
  const parts = physical(all, height - 10);
  const svg = draw("svg", {viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-labelledby": "columns-title"});
  const titles = [[left ? 0 : null, page.spaces[number - 1]?.title], [NEAR, "physical"], [OTHER, page.judged.title]];
  for (const [x, words] of titles.filter(([at]) => at !== null)) {
    svg.append(draw("text", {class: "head", x, y: 14}, words));
  }
  for (const [side, from, to] of [[left, WALL, NEAR], [right, OTHER, FAR]]) {
    svg.append(...(side ? side.placed.map((one) => ribbon(one, parts, from, to)).filter(Boolean) : []));
  }
  for (const part of parts.filter((one) => one.used)) {
    const kind = page.data.firmware.find(([first, last]) => first <= part.first && part.first <= last);
    const rect = draw("rect", {x: NEAR, y: part.y, width: FAR - NEAR, height: part.height, class: part.isShared ? "part shared" : "part"});
    rect.append(draw("title", {}, `${hex(part.first)}..${hex(part.last)}${kind ? ` ${kind[2]}` : ""}${part.isShared ? ", mapped more than once" : ""}`));
    svg.append(rect);
    if (part.height >= 12) {
      svg.append(draw("text", {x: NEAR + 4, y: part.y + 10}, hex(part.first)));
    }
  }
  if (left) {
    column(svg, left, 0, WALL, page, page.spaces[number - 1]);
  }
  column(svg, right, OTHER, WIDTH - OTHER, page, page.judged);
  root.replaceChildren(svg);
}
