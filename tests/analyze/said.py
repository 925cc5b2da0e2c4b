"""What a finding says, in words."""

from __future__ import annotations

from cr3scope.diagnose.finding import Finding
from cr3scope.render.finding import fix, proof, title

__all__ = ["detail", "fix", "title"]


def detail(finding: Finding) -> str:
    return "\n".join(proof(finding))
