"""`cr3scope walk`."""

from __future__ import annotations

from dataclasses import replace

import gdb

from cr3scope.paging.walk import access, walk
from cr3scope.render.walk import as_text
from cr3scope.x86.access import AccessKind
from cr3scope_commands.command import Command, address, show
from cr3scope.target.switch import new_cr3
from cr3scope_commands.target import stop

KINDS = {"r": AccessKind.READ, "w": AccessKind.WRITE, "x": AccessKind.FETCH}


class WalkCommand(Command):
    """Show every page-table entry that an address meets, and which one vetoes.

    cr3scope walk ADDRESS [--access r|w|x] [--new] [--user]
    ADDRESS is any expression. --new: the tables that the `mov cr3` at the PC will load. --user: an
    access of user mode."""

    name, usage = "walk", "ADDRESS [--access r|w|x] [--new] [--user]"
    options, values = ("--access", "--new", "--user"), {"--access": tuple(KINDS)}
    completion = gdb.COMPLETE_EXPRESSION

    def run(self, words: list[str]) -> None:
        kind, is_new, is_user, rest = "r", False, False, []
        left = iter(words)
        for word in left:
            if word == "--access":
                kind = next(left, "")
            elif word == "--new":
                is_new = True
            elif word == "--user":
                is_user = True
            else:
                rest.append(word)
        if len(rest) != 1 or kind not in KINDS:
            raise self.misused()
        virt, now = address(rest[0]), stop()
        cpu = replace(now.cpu, cr3=new_cr3(now)) if is_new else now.cpu
        path = walk(now, cpu, virt, now.platform)
        found = access(now, cpu, virt, KINDS[kind], is_user, platform=now.platform)
        mode = "user" if is_user else "supervisor"
        show(as_text(path, found, f"a {mode} {KINDS[kind].value}"))
