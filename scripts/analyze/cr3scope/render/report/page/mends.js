// Mends, applied in the picture: those of a finding and of all before it, and what the tables then refuse.

import {struck} from "./walk.js";
import {exception, name} from "./words.js";

export function mendsUpTo(findings, count) {
  const edits = new Map();
  for (const finding of findings.slice(0, count)) {
    for (const [phys, value] of finding.edits) {
      edits.set(Number(phys), BigInt(value));
    }
  }
  return edits;
}

// The steps that the tables refuse, each judged alone.
export function refusedSteps(space, steps) {
  return steps.map((step, number) => ({step, number, found: struck(space, step)})).filter((one) => one.found);
}

// Numbers in order: those from the first one to the last where none is left out, else each.
function spelt(numbers) {
  const last = numbers.at(-1);
  return numbers.length > 1 && last - numbers[0] === numbers.length - 1 ? `${numbers[0]} to ${last}` : numbers.join(", ");
}

export function whatStrikes(page) {
  const {data, mendedCount} = page, findings = data.findings, refused = page.refusedSteps;
  const words = [];
  const numbers = findings.slice(0, mendedCount).map((one, at) => [one, at + 1]);
  const missing = numbers.filter(([one]) => !one.edits.length && one.strikes).map(([, number]) => number);
  if (mendedCount) {
    const done = numbers.filter(([one]) => one.edits.length).map(([, number]) => number);
    const which = done.length === 1 ? `the mend of finding ${done[0]} is` : `the mends of findings ${spelt(done)} are`;
    words.push(`In the picture, not in your kernel, ${which} applied.`);
  }
  if (missing.length) {
    words.push(`${missing.length === 1 ? "That of finding" : "Those of findings"} ${spelt(missing)} ${missing.length === 1 ? "changes" : "change"} no entry here.`);
  }
  if (data.steps.length) {
    const first = refused[0];
    if (first) {
      const by = first.found.guilty.map(name).join(", ");
      words.push(`Of the ${data.steps.length} accesses that were judged the tables refuse ${refused.length}; first step ${first.number}, ` +
        `${first.step.name}: ${exception(data, first.found)}, ${data.reasons[first.found.reason]}${by ? `, by ${by}` : ""}.`);
    } else {
      words.push(`None of the ${data.steps.length} accesses that were judged is refused by the tables.`);
    }
    if (data.stepsLeftOut) {
      words.push(`${data.stepsLeftOut} more accesses are not in this page.`);
    }
  }
  const next = findings[mendedCount];
  if (mendedCount && next && next.strikes && !missing.length) {
    words.push(`The next to strike: ${next.title}.`);
  }
  return words.join(" ");
}
