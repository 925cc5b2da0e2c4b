// The filter of the course of events: rows whose text holds every word that was typed.

export function filterCourse(input, rows, count) {
  const all = [...rows].map((row) => [row, row.textContent.toLowerCase()]);
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [row, text] of all) {
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${all.length} events`;
  };
  input.addEventListener("input", apply);
  apply();
}
