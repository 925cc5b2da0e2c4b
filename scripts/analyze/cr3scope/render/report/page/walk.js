// The CPU's walk and its rights: Intel SDM volume 3A, 5.5 to 5.7. A second implementation beside paging/walk.py, so that an
// address can be asked for without a network; tests/analyze/test_report_page.py holds the two together.

const MASK64 = (1n << 64n) - 1n;
const KEY_DENIES_ACCESS = 1, KEY_DENIES_WRITES = 2;

export class Space {
  constructor(raw, memory, data) {
    this.title = raw.title;
    this.cr3 = raw.cr3;
    this.root = Number(raw.root);
    this.levels = raw.levels.map((one) => ({...one, reserved: one.reserved.map(BigInt), frame: BigInt(one.frame), high: BigInt(one.high)}));
    this.sign = raw.sign === null ? null : BigInt(raw.sign);
    this.width = BigInt(raw.width);
    this.loaded = raw.loaded && raw.loaded.map(BigInt);
    this.cpu = raw.cpu;
    this.isCut = raw.cut;
    this.memory = memory;
    this.bits = Object.fromEntries(Object.entries(data.bits).map(([name, mask]) => [name, BigInt(mask)]));
    this.keyShift = BigInt(data.keyShift);
    this.errors = data.errors;
  }

  // Whether all bits from the sign on are equal (SDM 1, 3.3.7.1).
  isCanonical(virt) {
    if (this.sign === null) {
      return true;
    }
    const top = virt >> this.sign;
    return top === 0n || top === MASK64 >> this.sign;
  }

  canonical(virt) {
    if (this.sign === null) {
      return BigInt.asUintN(Number(this.width), virt);
    }
    return BigInt.asUintN(64, BigInt.asIntN(Number(this.sign) + 1, virt));
  }

  isLeaf(value, level) {
    return level.leaf === "always" || (level.leaf === "ps" && (value & this.bits.large) !== 0n);
  }

  // The entry of a table; of the top one that which the CPU has loaded, where it keeps such.
  entry(table, level, index) {
    return this.loaded && level === this.levels[0] ? this.loaded[index] : this.memory.entry(table + level.bytes * index, level.bytes);
  }

  // Why a walk ends at an entry, whatever the access; null if it goes on.
  stop(value, level) {
    if (!(value & this.bits.present)) {
      return "NOT_PRESENT";
    }
    return value & level.reserved[value & this.bits.large ? 1 : 0] ? "RESERVED" : null;
  }

  target(value, level) {
    return Number(this.isLeaf(value, level) ? value & level.frame | (value & level.high) << BigInt(level.highShift) : value & this.bits.address);
  }
}

export function walk(space, address) {
  const virt = BigInt.asUintN(Number(space.width), address);
  const path = {virt, entries: [], stop: null, phys: null, size: 0n, missing: null};
  if (!space.isCanonical(virt)) {
    return {...path, stop: "NON_CANONICAL"};
  }
  let table = space.root;
  for (const level of space.levels) {
    const index = Number(virt >> BigInt(level.shift)) % level.entries;
    const phys = table + level.bytes * index;
    const value = space.entry(table, level, index);
    if (value === undefined) {
      return {...path, stop: "TABLE_UNREADABLE", missing: table};
    }
    path.entries.push({level, index, phys, value});
    const stop = space.stop(value, level);
    if (stop) {
      return {...path, stop};
    }
    table = space.target(value, level);
    if (space.isLeaf(value, level)) {
      path.size = 1n << BigInt(level.shift);
      path.phys = BigInt(table) | virt & (path.size - 1n);
      break;
    }
  }
  return path;
}

const lacking = (path, bit) => path.entries.filter((entry) => entry.level.rights && !(entry.value & bit));
const having = (path, bit) => path.entries.filter((entry) => entry.level.rights && entry.value & bit);

// What all levels together grant (SDM 3A, 5.6.1).
export function rights(space, path) {
  const {writable, user, nx} = space.bits;
  return {w: !lacking(path, writable).length, x: !having(path, nx).length, u: !lacking(path, user).length};
}

export function rightsText(granted) {
  return `r${granted.w ? "w" : "-"}${granted.x ? "x" : "-"}${granted.u ? "u" : "-"}`;
}

// The exception that an access raises, with the entries to blame; null if it goes through. ``kind``: read, write or fetch.
export function refusal(space, path, kind, isUser, isImplicit = false) {
  const {cpu, errors} = space;
  if (path.stop === "NON_CANONICAL") {
    return {vector: errors.protection, error: 0, reason: path.stop, guilty: []};
  }
  let error = (isUser ? errors.user : 0) | (kind === "write" ? errors.write : 0);
  if (kind === "fetch" && cpu.tellsFetches) {
    error |= errors.fetch;
  }
  const fault = (reason, guilty) => ({vector: errors.pageFault, error, reason, guilty});
  if (path.stop) {
    if (path.stop === "RESERVED" || (path.stop === "TABLE_UNREADABLE" && !cpu.absentIsZero)) {
      error |= errors.reserved | (cpu.reservedWithoutPresent ? 0 : errors.present);
    }
    return fault(path.stop, path.entries.slice(-1));
  }
  const found = veto(space, path, kind, isUser, isImplicit);
  if (!found) {
    return null;
  }
  error |= errors.present | (keyForbids(space, path, kind, isUser) ? errors.key : 0);
  return fault(...found);
}

function veto(space, path, kind, isUser, isImplicit) {
  const {cpu, bits} = space, granted = rights(space, path), leaf = path.entries.slice(-1);
  if (isUser && !granted.u) {
    return ["SUPERVISOR", lacking(path, bits.user)];
  }
  if (kind === "fetch") {
    if (!granted.x) {
      return ["NO_EXECUTE", having(path, bits.nx)];
    }
    return !isUser && granted.u && cpu.smep ? ["SMEP", leaf] : null;
  }
  if (kind === "write" && !granted.w && (isUser || cpu.wp)) {
    return ["READ_ONLY", lacking(path, bits.writable)];
  }
  if (!isUser && granted.u && (isImplicit ? cpu.smapImplicit : cpu.smap)) {
    return ["SMAP", leaf];
  }
  return keyForbids(space, path, kind, isUser) ? ["PROTECTION_KEY", leaf] : null;
}

// PKRU for user pages, PKRS for supervisor pages, data alone (SDM 3A, 5.6.2).
function keyForbids(space, path, kind, isUser) {
  const {cpu, bits} = space, ofUser = rights(space, path).u;
  if (kind === "fetch" || !(ofUser ? cpu.userKeys : cpu.supervisorKeys)) {
    return false;
  }
  const key = Number((path.entries.at(-1).value & bits.key) >> space.keyShift);
  const denied = Math.floor((ofUser ? cpu.pkru : cpu.pkrs) / 4 ** key) % 4;
  if (denied & KEY_DENIES_ACCESS) {
    return true;
  }
  return Boolean(denied & KEY_DENIES_WRITES) && kind === "write" && (isUser || cpu.wp);
}

// The first refusal of an access of several bytes, page by page; null if there is none.
export function struck(space, step) {
  const begin = BigInt(step.virt), last = begin + BigInt(step.width) - 1n;
  const general = (reason, virt) => ({vector: space.errors.protection, error: 0, reason, guilty: [], virt});
  for (const edge of [begin, last]) {
    if ((edge > MASK64 && !space.cpu.wrapsAround) || !space.isCanonical(edge & MASK64)) {
      return general("NON_CANONICAL", begin);
    }
  }
  if (begin % BigInt(step.align)) {
    return general("MISALIGNED", begin);
  }
  for (let virt = begin; virt <= last;) {
    const path = walk(space, virt & MASK64), found = refusal(space, path, step.kind, step.user, step.implicit);
    if (found) {
      return {...found, virt};
    }
    virt = (virt | path.size - 1n) + 1n;
    if (virt <= last && !space.isCanonical(virt & MASK64)) {
      return general("NON_CANONICAL", virt);
    }
  }
  return null;
}
