// The page: what is chosen (a space, an address, how many mends), and its parts, which are drawn anew when that changes.

import {answer} from "./answer.js";
import {columns, mark} from "./columns.js";
import {filterCourse} from "./course.js";
import {mendsUpTo, ofWhich, rangesUpTo, refusedSteps, whatStrikes} from "./mends.js";
import {Strips} from "./strips.js";
import {unpack} from "./tables.js";
import {Space} from "./walk.js";
import {hex, make, name, nameAt, parsed} from "./words.js";

const by = (id) => document.getElementById(id);
const asRanges = (list) => list.map(([first, last, said]) => [BigInt(first), BigInt(last), said]);

class Page {
  constructor(data, memories) {
    this.data = {...data, firmware: asRanges(data.firmware), names: asRanges(data.names)};
    this.writers = {...data.writers, maps: asRanges(data.writers.maps)};
    this.spaces = data.spaces.map((raw) => new Space(raw, memories[raw.memory], data));
    this.judged = this.spaces[data.judged];
    this.space = this.spaces[data.shown];
    this.virt = BigInt(data.start);
    this.mendedCount = 0;
    this.guilty = new Map(data.findings.flatMap((one) => one.entries.map((entry) => [`${entry.level} ${Number(entry.phys)}`, {...one, value: BigInt(entry.value)}])));
    this.strips = new Strips(by("strips"), this);
    this.listen();
    this.apply(0);
  }

  // The finding that names an entry, and whether a mend is applied to it; undefined for none, and in tables with another value.
  blame(level, phys, value) {
    const found = this.guilty.get(`${level.level} ${phys}`);
    if (!found || this.space.memory.original(phys, level.bytes) !== found.value) {
      return undefined;
    }
    return {...found, isMended: value !== found.value};
  }

  writer(entry) {
    const {entries, tables, maps, sources, texts} = this.writers;
    if (this.space !== this.judged) {
      return null;
    }
    const phys = hex(entry.phys), isTable = !this.space.isLeaf(entry.value, entry.level) && entry.value & this.space.bits.present;
    const number = entries[phys] ?? (isTable ? tables[phys] : nameAt(maps, this.virt));
    const isWritten = entries[phys] !== undefined || entry.value & this.space.bits.present;
    return number === undefined ? null : {source: sources[number], text: texts[number], did: isWritten ? "written by" : "asked for by"};
  }

  missing(path) {
    return this.space.isCut
      ? `this page does not hold the table at ${hex(path.missing)}, since there are very many: ask \`cr3scope walk\``
      : `the evidence holds no table at ${hex(path.missing)}`;
  }

  // Whether the mode of the shown space has no such address.
  isLong(virt) {
    return virt >> this.space.width !== 0n;
  }

  // The first address that the chosen entry of a level translates.
  firstOf(level) {
    return this.virt >> BigInt(level.shift) << BigInt(level.shift);
  }

  choose(at, index) {
    const level = this.space.levels[at], span = BigInt(level.shift);
    const above = this.space.levels[at - 1];
    const base = above ? this.virt >> BigInt(above.shift) << BigInt(above.shift) : 0n;
    this.virt = this.space.canonical(base | BigInt(index) << span);
    this.show();
    by("address").value = hex(this.virt);
  }

  ask(virt, space = this.space) {
    this.space = space;
    this.virt = this.isLong(virt) ? 0n : virt;
    by("address").value = hex(this.virt);
    by("space").value = String(this.spaces.indexOf(space));
    this.show();
  }

  apply(count) {
    this.mendedCount = count;
    this.judged.memory.mend(mendsUpTo(this.data.findings, count));
    this.refusedSteps = refusedSteps(this.judged, this.data.steps);
    this.refusedEntries = new Set(this.refusedSteps.flatMap((one) => one.found.guilty.map((entry) => entry.phys)));
    by("mended").textContent = whatStrikes(this);
    const shown = rangesUpTo(this.data, count);
    columns(by("columns"), this, shown.ranges);
    by("columns-of").textContent = ofWhich(this.data.findings, shown);
    by("changes-of")?.replaceChildren(count ? "Without any mend: " : "");
    document.querySelectorAll("button.apply").forEach((button) => {
      const isOn = Number(button.dataset.finding) < count;
      button.setAttribute("aria-pressed", String(isOn));
      button.textContent = isOn ? "take it back" : "apply in the picture";
    });
    this.show();
  }

  get refused() {
    return this.space === this.judged ? this.refusedEntries : new Set();
  }

  show() {
    this.strips.show();
    this.crumbs();
    const found = answer(this, this.virt), walk = by("walk");
    Object.assign(walk.dataset, {outcome: found.outcome, phys: found.phys, rights: found.rights});
    walk.replaceChildren(...found.nodes);
    mark(by("columns"), this);
  }

  crumbs() {
    const shown = this.strips.strips.filter((strip) => !strip.section.hidden);
    const steps = shown.map((strip, at) => {
      const chosen = strip.cells.find((cell) => cell.getAttribute("aria-selected") === "true");
      const level = this.space.levels[at];
      const button = make("button", {type: "button", class: "crumb"}, chosen ? name({level, index: chosen.dataset.index}) : level.name);
      button.addEventListener("click", () => this.strips.focus(at, at));
      return make("li", {}, button);
    });
    by("crumbs").replaceChildren(make("li", {}, `CR3 ${this.space.cr3}`), ...steps);
  }

  listen() {
    const address = by("address"), choice = by("space");
    address.value = hex(this.virt);
    this.spaces.forEach((space, at) => choice.append(make("option", {value: String(at)}, `${space.title}, CR3 ${space.cr3}`)));
    choice.value = String(this.spaces.indexOf(this.space));
    choice.addEventListener("change", () => this.ask(this.virt, this.spaces[Number(choice.value)]));
    const typed = () => {
      const virt = parsed(address.value), isLong = virt !== null && this.isLong(virt);
      address.setAttribute("aria-invalid", String(virt === null || isLong));
      if (virt === null || isLong) {
        const words = isLong ? `no address ${this.space.title}: there it has ${this.space.width} bits` : "no address: hexadecimal digits, sixteen at most";
        by("walk").replaceChildren(make("p", {}, words));
        Object.assign(by("walk").dataset, {outcome: "", phys: "", rights: ""});
        return;
      }
      this.virt = virt;
      this.show();
    };
    address.addEventListener("input", typed);
    by("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      typed();
    });
    document.querySelectorAll("button.apply").forEach((button) => this.offer(button));
    document.querySelectorAll("button.goto").forEach((button) => this.lead(button));
  }

  offer(button) {
    const number = Number(button.dataset.finding);
    if (this.data.findings[number]?.edits.length) {
      button.hidden = false;
      button.addEventListener("click", () => this.apply(number < this.mendedCount ? number : number + 1));
    }
  }

  lead(button) {
    const {virt} = this.data.findings[Number(button.dataset.finding)] ?? {};
    if (virt) {
      button.hidden = false;
      button.addEventListener("click", () => {
        this.ask(BigInt(virt), this.judged);
        by("strips").scrollIntoView();
      });
    }
  }
}

async function begin() {
  if (by("course")) {
    filterCourse(by("filter"), document.querySelectorAll("#course tbody tr"), by("filtered"));
  }
  const data = JSON.parse(by("data").textContent);
  if (data === null) {
    return;
  }
  if (typeof DecompressionStream === "undefined") {
    by("unpacking").textContent = "This browser cannot unpack the tables (DecompressionStream): the text says all that the verdict does.";
    return;
  }
  const memories = await Promise.all(data.memories.map(unpack));
  document.documentElement.classList.add("drawn");
  new Page(data, memories);
  document.documentElement.dataset.ready = "";
}

begin();
