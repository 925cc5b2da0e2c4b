"""How the page of a million pages in no order behaves in Chromium: seconds until it is drawn, and for a frame while it is scrolled.

The page's own clock counts: from the start of its navigation until its scripts are done, and from frame to frame.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import report_page

sys.path.insert(0, str(Path(__file__).parents[1]))
from analyze.page_browser import lacking, started  # noqa: E402

from cr3scope.render import html  # noqa: E402

STEPS = 90  # frames, a twelfth of a screen each
_DRAWN = """const done = arguments[0];
const look = () => document.documentElement.dataset.ready === undefined ? requestAnimationFrame(look) : done(performance.now());
look();"""
_SCROLLED = """const [steps, done] = arguments, times = [], end = document.documentElement.scrollHeight - innerHeight;
const step = (now) => {
  times.push(now);
  scrollTo(0, end - Math.abs(times.length * innerHeight / 12 % (2 * end) - end));
  if (times.length <= steps) requestAnimationFrame(step);
  else done((times.at(-1) - times[0]) / 1000 / steps);
};
requestAnimationFrame(step);"""


def main() -> None:
    """Prints one line, both; nothing where there is no browser, with the reason on standard error."""
    if lacking():
        print(lacking(), file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder:
        path = Path(folder, "report.html")
        path.write_text(html.render(report_page.million()), encoding="utf-8", errors="backslashreplace")
        with started(is_seen=True) as browser:
            browser.driver.get(path.as_uri())
            seconds = browser.later(_DRAWN) / 1000
            print(seconds, browser.later(_SCROLLED, STEPS))


if __name__ == "__main__":
    main()
