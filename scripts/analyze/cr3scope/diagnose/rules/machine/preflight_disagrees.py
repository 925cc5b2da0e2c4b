"""The loader's own walk and this model do not say the same."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.input.capture.records import PreflightRecord
from cr3scope.message import Message, as_messages
from cr3scope.model.plan import strike
from cr3scope.paging.walk import PageFault
from cr3scope.x86 import exceptions


def _check(context: Context) -> Iterator[Finding]:
    if context.tables is None or context.cpu is None:
        return
    steps = {step.step: step for step in context.boot.plan}
    for record in context.boot.preflight:
        step = steps.get(record.step)
        if step is None:
            continue
        fault = strike(context.tables, context.cpu, step, context.platform)
        if not _agree(record, fault):
            yield RULE.finding(
                Message(f"the loader and the model disagree on step {record.step}, {step.name}"),
                *as_messages(f"loader: {_loader_words(record)}; model: {_model_words(fault)}"),
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


def _loader_words(record: PreflightRecord) -> str:
    if record.ok or record.vector is None:
        return "ok"
    cr2 = "" if record.cr2 is None else f", CR2={record.cr2:#x}"
    return f"{exceptions.describe(record.vector, record.error)}{cr2}"


def _model_words(fault: PageFault | None) -> str:
    if fault is None:
        return "ok"
    cr2 = "" if fault.cr2 is None else f", CR2={fault.cr2:#x}"
    return f"{exceptions.describe(fault.vector, fault.error_code)}{cr2}"


RULE = Rule(
    id="preflight-disagrees",
    title="preflight and model disagree",
    severity=Severity.WARNING,
    reason=(
        "The loader walks its plan by its own code, the analyzer by another, over a dump. A difference "
        "means that the tables changed between preflight and dump, or that one walker is wrong."
    ),
    shows="Nothing.",
    fix="Compare both walks of that address (cr3scope walk) with the manual, and report the bug.",
    manual="Intel SDM volume 3A, 5.5 to 5.7",
    check=_check,
)
