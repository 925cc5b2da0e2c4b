"""The loader's own walk and this model do not say the same."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.input.capture.records import PreflightRecord
from cr3scope.message import Fact, message
from cr3scope.model.plan import strike
from cr3scope.paging.walk import PageFault
from cr3scope.x86 import exceptions
from cr3scope.x86.access import Fault
from cr3scope.x86.mode import LONG

_OK = "ok"


def _check(context: Context) -> Iterator[Finding]:
    steps = {step.step: step for step in context.boot.plan}
    for record in context.boot.preflight:
        step = steps.get(record.step)
        if step is None:
            continue
        fault = strike(context.tables, context.cpu, step, context.platform)
        if not _agree(record, fault):
            yield RULE.finding(
                message(
                    "the loader and the model disagree on step {step}, {access}",
                    step=record.step,
                    access=step.name,
                ),
                message("loader: {loader}; model: {model}", loader=_by_loader(record), model=_by_model(fault)),
            )


def _agree(record: PreflightRecord, fault: PageFault | None) -> bool:
    if record.ok or fault is None:
        return record.ok == (fault is None)
    same_error = (
        record.error is None
        or fault.error_code is None
        or exceptions.same_error(record.error, fault.error_code)
    )
    same_address = record.vector != exceptions.PAGE_FAULT or record.cr2 == fault.cr2
    return record.vector == fault.vector and same_error and same_address


def _by_loader(record: PreflightRecord) -> Fact:
    if record.ok or record.vector is None:
        return _OK
    return Fault(record.vector, record.error, record.cr2, None)


def _by_model(fault: PageFault | None) -> Fact:
    return Fault(fault.vector, fault.error_code, fault.cr2, None) if fault else _OK


RULE = Rule(
    id="preflight-disagrees",
    title="preflight and model disagree",
    severity=Severity.WARNING,
    modes=LONG,
    reason=(
        "The loader walks its plan by its own code, the analyzer by another, over a dump. A difference "
        "means that the tables changed between preflight and dump, or that one walker is wrong."
    ),
    shows="Nothing.",
    fix="Compare both walks of that address (cr3scope walk) with the manual, and report the bug.",
    manual="Intel SDM volume 3A, 5.5 to 5.7",
    check=_check,
    needs=SWITCH,
)
