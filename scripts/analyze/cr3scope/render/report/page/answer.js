// The answer on one address: where it leads, what each kind of access may do there, and the exact exception if not.

import {refusal, rights, rightsText, walk} from "./walk.js";
import {bitNames, exception, hex, make, name, nameAt, size} from "./words.js";

const KINDS = ["read", "write", "fetch"];

export function answer(page, virt) {
  const {space, data} = page, path = walk(space, virt);
  const out = {outcome: path.stop ? "fault" : "translated", phys: path.phys === null ? "" : hex(path.phys), rights: path.stop ? "----" : rightsText(rights(space, path))};
  const nodes = [make("p", {class: "lead"}, lead(page, path, out)), levels(page, path)];
  const lost = path.stop === "TABLE_UNREADABLE" && space.isCut;
  if (!lost) {
    nodes.push(accesses(page, path));
  }
  const named = space === page.judged ? nameAt(data.names, virt) : undefined;
  if (named) {
    nodes.push(make("p", {}, `named by the trace: ${named}`));
  }
  return {...out, nodes};
}

function lead(page, path, out) {
  const {space, data} = page, from = `${hex(path.virt)} ${space.title}`;
  if (path.phys !== null) {
    const memory = nameAt(data.firmware, path.phys);
    return `${from}: leads to ${out.phys}${memory ? ` (${memory})` : ""}, a page of ${size(path.size)}, ${out.rights}`;
  }
  if (path.stop === "TABLE_UNREADABLE") {
    return `${from}: ${page.missing(path)}`;
  }
  const last = path.entries.at(-1);
  return `${from}: leads nowhere, ${last ? `${name(last)}: ` : ""}${data.reasons[path.stop]}`;
}

function levels(page, path) {
  const {space, data} = page;
  const rows = path.entries.map((entry) => {
    const blame = page.blame(entry.level, entry.phys, entry.value);
    const row = make("li", {}, make("code", {}, `${name(entry)}  ${hex(entry.phys)} = 0x${entry.value.toString(16).padStart(16, "0")}  ${bitNames(space, data, entry)}`));
    if (blame && !blame.isMended) {
      row.append(" ", make("strong", {class: blame.severity}, blame.rule));
    }
    return row;
  });
  return make("ol", {class: "path"}, ...rows);
}

function accesses(page, path) {
  const {space, data} = page;
  const head = make("tr", {}, ...["access", "supervisor", "user"].map((word) => make("th", {scope: "col"}, word)));
  const rows = KINDS.map((kind) => {
    const cells = [false, true].map((isUser) => {
      const found = refusal(space, path, kind, isUser);
      const cell = make("td", {class: found ? "no" : "yes"});
      cell.dataset.access = `${kind} ${isUser ? "user" : "supervisor"}`;
      cell.dataset.vector = found ? found.vector : "";
      cell.dataset.error = found ? found.error : "";
      const by = found ? found.guilty.map(name).join(", ") : "";
      cell.textContent = found ? `${exception(data, found)} ${data.reasons[found.reason]}${by ? `, by ${by}` : ""}` : "goes through";
      return cell;
    });
    return make("tr", {}, make("th", {scope: "row"}, kind), ...cells);
  });
  return make("table", {class: "accesses"}, make("thead", {}, head), make("tbody", {}, ...rows));
}
