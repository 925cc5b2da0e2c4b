// The level strips: a cell for each entry of the tables on the way of one address, from the top down.

import {rightsText, walk} from "./walk.js";
import {bitNames, hex, make, name, nameAt, size} from "./words.js";

const DENIALS = [["w", "writable", true], ["x", "nx", false], ["u", "user", true]];

export class Strips {
  constructor(root, page) {
    this.page = page;
    this.root = root;
    this.strips = [];
  }

  show() {
    const {space} = this.page;
    if (this.strips.length !== space.levels.length || this.strips.some((one, at) => one.cells.length !== space.levels[at].entries)) {
      this.root.replaceChildren();
      this.strips = space.levels.map((level, at) => this.build(level, at));
    }
    const path = walk(space, this.page.virt);
    let granted = {w: true, x: true, u: true}, table = space.root;
    this.strips.forEach((strip, at) => {
      const entry = path.entries[at];
      const isShown = table !== null && space.entry(table, space.levels[at], 0) !== undefined;
      strip.section.hidden = !isShown;
      if (!isShown) {
        return;
      }
      const level = space.levels[at];
      strip.heading.textContent = `${level.name} at ${hex(table)}: each cell ${size(1n << BigInt(level.shift))}`;
      this.fill(strip, level, at, table, granted, entry);
      this.tell(strip, entry, path, granted);
      const goesOn = entry && !space.stop(entry.value, level) && !space.isLeaf(entry.value, level);
      granted = entry ? this.through(level, entry.value, granted) : granted;
      table = goesOn ? space.target(entry.value, level) : null;
    });
  }

  build(level, at) {
    const heading = make("h3", {id: `strip-${at}`});
    const grid = make("div", {class: "strip", role: "listbox", "aria-labelledby": `strip-${at}`});
    const cells = Array.from({length: level.entries}, (_, index) => {
      const cell = make("div", {class: "cell", role: "option", tabindex: "-1"});
      cell.dataset.level = level.level;
      cell.dataset.index = index;
      return cell;
    });
    grid.append(...cells);
    grid.addEventListener("click", (event) => this.chosen(event.target.closest(".cell"), at));
    grid.addEventListener("keydown", (event) => this.key(event, at));
    const detail = make("p", {class: "detail"});
    const section = make("section", {class: "level"}, heading, grid, detail);
    this.root.append(section);
    return {section, heading, grid, cells, detail, shown: []};
  }

  fill(strip, level, at, table, granted, entry) {
    const {space} = this.page;
    strip.cells.forEach((cell, index) => {
      const phys = table + level.bytes * index, value = space.entry(table, level, index);
      const isHere = entry !== undefined && index === entry.index;
      const blame = this.page.blame(level, phys, value);
      const classes = ["cell", ...this.looks(level, value, granted)], isGuilty = blame && !blame.isMended;
      if (isGuilty) {
        classes.push("guilty", blame.severity);
      }
      if (value !== space.memory.original(phys, level.bytes) && !space.loaded) {
        classes.push("mended");
      }
      if (this.page.refused.has(phys)) {
        classes.push("refused");
      }
      if (isHere) {
        classes.push("here");
      }
      const tab = isHere || (entry === undefined && index === 0) ? 0 : -1;
      if (cell.tabIndex !== tab) {
        cell.tabIndex = tab;
      }
      const words = this.words(level, index, value, granted, blame), looks = classes.join(" "), shown = `${phys} ${looks} ${words}`;
      if (strip.shown[index] === shown) {  // most of 512 cells stay as they are
        return;
      }
      strip.shown[index] = shown;
      cell.dataset.phys = hex(phys);
      if (isGuilty) {
        cell.dataset.guilty = blame.rule;
      } else {
        delete cell.dataset.guilty;
      }
      cell.className = looks;
      cell.setAttribute("aria-selected", String(isHere));
      cell.setAttribute("aria-label", words);
      cell.title = words;
    });
  }

  // What an entry grants of what the levels above grant.
  through(level, value, granted) {
    const {bits} = this.page.space;
    if (!level.rights) {
      return granted;
    }
    return {
      w: granted.w && (value & bits.writable) !== 0n, x: granted.x && !(value & bits.nx), u: granted.u && (value & bits.user) !== 0n,
    };
  }

  // The rights that an entry takes away although the levels above grant them.
  denied(level, value, granted) {
    return !level.rights ? [] : DENIALS.filter(([letter, bit, grants]) =>
      granted[letter] && Boolean(value & this.page.space.bits[bit]) !== grants).map(([letter]) => letter);
  }

  looks(level, value, granted) {
    const {space} = this.page, stop = space.stop(value, level);
    if (stop) {
      return [stop === "RESERVED" ? "reserved" : "absent"];
    }
    const rights = this.through(level, value, granted), denied = this.denied(level, value, granted).filter((letter) => letter !== "u");
    const colour = `r${rights.w ? "w" : ""}${rights.x ? "x" : ""}`;
    const kind = space.isLeaf(value, level) ? "leaf" : "table";
    return [colour, kind, ...(rights.u ? ["user"] : []), ...(denied.length ? ["denies"] : [])];
  }

  words(level, index, value, granted, blame) {
    const {space} = this.page, stop = space.stop(value, level), entry = {level, index, value};
    if (stop) {
      const why = stop === "RESERVED" ? "a reserved bit is set" : "not present";
      return `${name(entry)}: ${why}${blame ? `, ${blame.isMended ? "mended" : blame.rule}` : ""}`;
    }
    const kind = space.isLeaf(value, level) ? "page" : "table";
    const denied = this.denied(level, value, granted).filter((letter) => letter !== "u").join("");
    const finding = blame ? `, ${blame.isMended ? "mended" : blame.rule}` : "";
    return `${name(entry)}: ${kind}, ${rightsText(this.through(level, value, granted))}${denied ? `, takes away ${denied}` : ""}${finding}`;
  }

  // The chosen entry in words: where it lies, what it says, what it leads to, who made it so.
  tell(strip, entry, path, granted) {
    const {space, data} = this.page;
    strip.detail.replaceChildren();
    if (!entry) {
      return;
    }
    const {level, value, phys} = entry, stop = space.stop(value, level);
    strip.detail.append(make("code", {}, `${name(entry)} at ${hex(phys)} = 0x${value.toString(16).padStart(16, "0")}`));
    const says = [bitNames(space, data, entry) || "no flag"];
    if (!stop) {
      const target = space.target(value, level), leaf = space.isLeaf(value, level);
      const memory = leaf ? nameAt(data.firmware, BigInt(target)) : undefined;
      says.push(leaf ? `maps ${size(1n << BigInt(level.shift))} at ${hex(target)}${memory ? ` (${memory})` : ""}` : `leads to the table at ${hex(target)}`);
      const denied = this.denied(level, value, granted).filter((letter) => letter !== "u");
      says.push(`${rightsText(this.through(level, value, granted))} so far${denied.length ? `: takes away ${denied.join(" and ")}` : ""}`);
    } else {
      says.push(data.reasons[stop]);
    }
    if (path.stop === "TABLE_UNREADABLE" && entry === path.entries.at(-1)) {
      says.push(this.page.missing(path));
    }
    const first = this.page.firstOf(level);
    says.push(`covers ${hex(first)}..${hex(first + (1n << BigInt(level.shift)) - 1n)}`);
    const named = nameAt(data.names, this.page.virt);
    if (named && space === this.page.judged && entry === path.entries.at(-1)) {
      says.push(named);
    }
    strip.detail.append(` ${says.join("; ")}`);
    const blame = this.page.blame(level, phys, value);
    if (blame) {
      strip.detail.append(" ", make("strong", {class: blame.isMended ? "good" : blame.severity}, blame.isMended ? "mended here" : `${blame.rule}: ${blame.title}`));
    }
    const writer = this.page.writer(entry);
    if (writer) {
      strip.detail.append(make("span", {class: "writer"}, `${writer.did} ${writer.source}`), ...(writer.text ? [make("code", {}, writer.text)] : []));
    }
  }

  // A click chooses an entry, and with it the way: the strips below are those of its table.
  chosen(cell, at) {
    if (cell) {
      this.page.choose(at, Number(cell.dataset.index));
    }
  }

  key(event, at) {
    const cell = event.target.closest(".cell"), {cells} = this.strips[at];
    if (!cell) {
      return;
    }
    const index = Number(cell.dataset.index);
    const columns = getComputedStyle(this.strips[at].grid).gridTemplateColumns.split(" ").length;
    const moves = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -index, End: cells.length - 1 - index};
    if (event.key in moves) {
      const target = Math.min(Math.max(index + moves[event.key], 0), cells.length - 1);
      event.preventDefault();
      cells[index].tabIndex = -1;
      cells[target].tabIndex = 0;
      cells[target].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.chosen(cell, at);
      this.focus(at + 1, at);
    } else if ((event.key === "Escape" || event.key === "Backspace") && at > 0) {
      event.preventDefault();
      this.focus(at - 1, at);
    }
  }

  focus(at, otherwise) {
    const strip = this.strips[at] && !this.strips[at].section.hidden ? this.strips[at] : this.strips[otherwise];
    (strip.cells.find((cell) => cell.tabIndex === 0) || strip.cells[0]).focus();
  }
}
