// How numbers and entries read.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

export const hex = (value) => `0x${BigInt(value).toString(16)}`;
export const name = (entry) => `${entry.level.name}[${entry.index}]`;

export function size(bytes) {
  let unit = 0, value = Number(bytes);
  while (Number(value.toFixed(1)) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

export function bitNames(space, data, entry) {
  const {level, value} = entry, leaf = space.isLeaf(value, level), isLast = level.leaf === "always";
  const counts = {any: true, leaf, upper: !isLast, pte: isLast, large: leaf && !isLast};
  return data.namedBits.filter(([, mask, where]) => counts[where] && value & BigInt(mask)).map(([letters]) => letters).join(" ");
}

export function exception(data, fault) {
  return `${data.vectors[fault.vector]}(${hex(fault.error)})`;
}

// An element with text and children; whatever the text says, it stays text.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

export function parsed(text) {
  const digits = text.trim().replace(/^0x/i, "").replace(/[_'`]/g, "");
  return /^[0-9a-f]{1,16}$/i.test(digits) ? BigInt(`0x${digits}`) : null;
}

// The name of the range of a list [first, last, name] that holds an address; undefined for none.
export function nameAt(ranges, address) {
  let low = 0, high = ranges.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (address < ranges[middle][0]) {
      high = middle - 1;
    } else if (address > ranges[middle][1]) {
      low = middle + 1;
    } else {
      return ranges[middle][2];
    }
  }
  return undefined;
}
