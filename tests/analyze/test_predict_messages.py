"""What the model says is facts and templates; the words of both, and of a step's role, are made by `render/`."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boot_builder as b
import pytest
from boot_builder import Scene, healthy
from core_builder import TABLES, core, cpu, memory
from step_scenes import predicted, with_step

from cr3scope.diagnose.rules.switch import missing_cli
from cr3scope.input.sources.open import open_core_file
from cr3scope.message import Hex, Message
from cr3scope.model.code_prediction import CodePrediction, predict_code
from cr3scope.model.delivery import Delivery
from cr3scope.model.machine import carry
from cr3scope.model.prediction import Prediction
from cr3scope.model.role import Role
from cr3scope.render import finding, message, role
from cr3scope.target.core_cpu import stopped_cpu
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.platform import Platform


def stands(folder: Path, code: str = "0f22d8 50 0f0b", without: int | None = None, **registers: int) -> StoppedCpu:
    """The CPU of a core, of whose memory the page ``without`` is left out."""
    pages = {at: data for at, data in memory(code).items() if at != without}
    path = core(folder, pages, cpu(**registers))
    return stopped_cpu(open_core_file(Path(path)), path)


def kernel_missing() -> Scene:
    scene = healthy()
    scene.unmap(b.KERNEL)
    scene.unmap(b.IDT)
    return scene


def test_every_role_has_words_of_its_own() -> None:
    words = [role.text(one) for one in Role]
    assert len(set(words)) == len(Role) and all(words)
    assert message.text(Message("at the {role}", {"role": Role.NEXT_FETCH})) == "at the next fetch"


def test_the_first_step_behind_the_switch_is_known_by_its_role(tmp_path: Path) -> None:
    seen = predict_code(stands(tmp_path))
    assert [step.role for step in seen.steps] == [Role.NEXT_FETCH, Role.STACK_WRITE, Role.INSTRUCTION]
    assert seen.refused is not None and seen.refused.role is Role.INSTRUCTION
    assert seen.own is not None and seen.own.instruction == "ud2"


def test_a_step_of_the_plan_keeps_the_name_that_its_writer_gave() -> None:
    scene = with_step(healthy(), 1, name="read of {virt}", kind=AccessKind.READ, virt=0x7_0000_0000, width=8)
    assert message.text(predicted(scene).step) == "read of {virt}"


def test_a_chain_carries_what_is_reached_for_and_what_that_raises() -> None:
    first, second, *_ = predicted(kernel_missing()).chain
    raised = first.facts["raises"]
    assert isinstance(raised, Fault) and (raised.vector, raised.cr2) == (14, b.IDT + 14 * 16)
    touching = second.facts["touching"]
    assert isinstance(touching, Message) and touching.facts == {"gate": 8, "virt": Hex(b.IDT + 8 * 16)}


@pytest.mark.parametrize(
    ("is_recorded", "platform", "begins"),
    [(True, Platform.TCG, "the capture does not hold gate 6 "), (False, Platform.HARDWARE, "memory cannot be read: gate 6 "),
     (False, Platform.TCG, "gate 8, which is no interrupt or trap gate, is out of reach too: ")],
)  # fmt: skip
def test_of_bytes_that_are_not_known_the_model_says_whether_they_were_recorded(
    is_recorded: bool, platform: Platform, begins: str, tmp_path: Path
) -> None:
    """Where a machine has no memory TCG reads zeros, which are no gate."""
    now = replace(stands(tmp_path, without=TABLES), is_recorded=is_recorded, platform=platform)
    chain = predict_code(now).chain
    assert chain is not None and message.text(chain.words[-1]).startswith(begins)


def test_the_exceptions_of_a_chain_do_not_hide_each_other_s_facts(tmp_path: Path) -> None:
    now = stands(tmp_path, without=TABLES)
    cleared = replace(now.cpu, cr3=0x3000)
    chain = carry(Delivery(now, cleared, now, now.platform), 0x20, now.delivery_registers)
    found = missing_cli.of_chain(chain)
    told: dict[str, Any] = finding.facts(found)
    assert (told["event_1"]["gate"], told["event_2"]["gate"]) == (0x20, 14)
    assert told["event_1"]["raises"]["vector"] == 14 and len(found.proof) == len(chain.words) > 1
    assert finding.proof(found)[0] == message.text(chain.words[0])


@pytest.mark.parametrize("scene", [kernel_missing(), healthy()])
def test_every_fact_of_a_prediction_is_shown_and_every_name_has_a_fact(scene: Scene, tmp_path: Path) -> None:
    said = [*messages(predicted(scene)), *messages(predict_code(stands(tmp_path)))]
    assert len(said) > 3
    for one in said:
        names = {name for _, name, _, _ in string.Formatter().parse(one.template) if name}
        assert not one.facts or names == set(one.facts), one


def messages(found: Prediction | CodePrediction) -> Iterator[Message]:
    if isinstance(found, CodePrediction):
        chain = found.chain.words if found.chain else ()
        own = (found.own.refused.why,) if found.own else ()
        yield from (each for one in (found.end, *chain, *own) for each in whole(one))
    else:
        yield from (each for one in (found.step, found.diverges_words, *found.chain) for each in whole(one))


def whole(said: Message) -> Iterator[Message]:
    """With those inside it."""
    yield said
    for fact in said.facts.values():
        if isinstance(fact, Message):
            yield from whole(fact)
