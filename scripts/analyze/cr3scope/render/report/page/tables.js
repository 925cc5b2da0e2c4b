// The embedded tables: unpacked once, then read entry by entry, with the mends that are applied on top.

export const PAGE = 4096;
const WORD = 8;

export async function unpack(text) {
  const bytes = await inflated(text);
  const count = bytes.length / WORD;
  const mixed = new Uint8Array(bytes.length);
  for (let plane = 0; plane < WORD; plane++) {
    for (let at = plane, from = plane * count; at < mixed.length; at += WORD) {
      mixed[at] = bytes[from++];
    }
  }
  const words = new BigUint64Array(mixed.buffer);
  let sum = 0n;
  for (let at = 0; at < count; at++) {
    sum += words[at];
    words[at] = sum;
    sum = words[at];
  }
  return new Memory(words);
}

async function inflated(text) {
  const packed = atob(text);
  const bytes = new Uint8Array(packed.length);
  for (let at = 0; at < bytes.length; at++) {
    bytes[at] = packed.charCodeAt(at);
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export class Memory {
  constructor(words) {
    const count = Number(words[0]);
    this.words = words;
    this.rows = new Map();
    for (let row = 0; row < count; row++) {
      this.rows.set(Number(words[1 + row]), 1 + count + row * (PAGE / WORD));
    }
    this.mended = new Map();
    this.made = new Set();
  }

  // Puts words of eight bytes on top of what is embedded; tables that are nowhere are made, empty.
  mend(edits) {
    this.mended = new Map(edits);
    this.made = new Set([...this.mended.keys()].map((phys) => phys - phys % PAGE));
  }

  // The entry of so many bytes at a physical address; undefined where its table is not held.
  entry(phys, bytes) {
    const changed = this.mended.get(phys - phys % WORD);
    return changed === undefined ? this.original(phys, bytes) : part(changed, phys, bytes);
  }

  original(phys, bytes) {
    const page = phys - phys % PAGE, row = this.rows.get(page);
    if (row !== undefined) {
      return part(this.words[row + Math.floor((phys - page) / WORD)], phys, bytes);
    }
    return this.made.has(page) ? 0n : undefined;
  }
}

const part = (word, phys, bytes) => (bytes === WORD ? word : BigInt.asUintN(8 * bytes, word >> BigInt(8 * (phys % WORD))));
