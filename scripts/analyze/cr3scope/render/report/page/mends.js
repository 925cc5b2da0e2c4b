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

// What the judged space maps with the mends of the first findings, and the numbers of those whose mends it is without.
export function rangesUpTo(data, count) {
  const changing = data.findings.slice(0, count).map((one, at) => ({...one, number: at + 1})).filter((one) => one.edits.length);
  const held = changing.findLastIndex((one) => one.ranges);
  return {ranges: held < 0 ? data.ranges[data.judged] : changing[held].ranges, lacks: changing.slice(held + 1).map((one) => one.number), isMended: held >= 0};
}

// Of which space the columns are; nothing where no mend changes it.
export function ofWhich(findings, {lacks, isMended}) {
  if (!findings.some((one) => one.edits.length)) {
    return "";
  }
  const which = lacks.length === 1 ? `that of finding ${lacks[0]}` : `those of findings ${spelt(lacks)}`;
  const words = isMended ? "With the mends that are applied in the picture; what they change has a green border." : "As they were judged, without any mend.";
  return `${words}${lacks.length ? ` Here ${which} could not be shown: the page has no room for so many ranges once more.` : ""}`;
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
