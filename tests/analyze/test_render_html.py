"""The HTML report: complete, and safe against what a guest may say."""

from __future__ import annotations

from html.parser import HTMLParser

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.model.prediction import Prediction
from cr3scope.render import html
from cr3scope.verdict.types import Status, Verdict
from cr3scope.message import Message
from cr3scope.x86.access import EntryRef, Fault
from cr3scope.x86.ending import Ending

EVIL = "<script>alert(1)</script>\x1b[31m"


def verdict(title: str = "NX in PML4[0]") -> Verdict:
    fault = Fault(14, 0x11, 0xDF9E034, 0xDF9E034, 0x1000)
    entry = EntryRef(4, 0, 0x1000, 0x8000_0000_0000_2003)
    finding = Finding("nx-upper-level", Severity.ERROR, Message(title), (Message("line one"), Message("line two")),
                      Message("clear NX"), (), entry, (0, 0x7F_FFFF_FFFF), "loader/x.c:87", 0)
    return Verdict(Status.FAULTED, (finding,), Prediction(False, Message("step"), fault, Ending.STORM, (Message("again"),)),
                   Observation(Ending.STORM, fault, 7, "interrupt log", "again"), True)


class Tags(HTMLParser):
    """The names of all tags, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_every_part_of_a_finding_is_on_the_page() -> None:
    words = Tags(html.render(verdict())).words
    for part in ("nx-upper-level", "NX in PML4[0]", "0x8000000000002003", "loader/x.c:87", "line two",
                 "clear NX", "storm", "as foreseen"):
        assert part in words, part


def test_guest_text_can_neither_add_a_tag_nor_reach_a_terminal() -> None:
    page, plain = Tags(html.render(verdict(EVIL))), Tags(html.render(verdict()))
    assert page.names == plain.names
    assert plain.names.count("script") == 2  # the data, and the page's own
    assert "\x1b" not in html.render(verdict(EVIL))


def test_a_healthy_verdict_with_nothing_in_it_renders() -> None:
    assert "HEALTHY" in Tags(html.render(Verdict(Status.HEALTHY))).words
