"""Every C unit test, built natively under ASan and UBSan, as one pytest test each."""

from __future__ import annotations

import c_unit
import pytest


@pytest.mark.parametrize("name", c_unit.names())
def test_c_unit_passes(name: str) -> None:
    output = c_unit.run(c_unit.build(name))
    assert "[  PASSED  ]" in output, f"{name} ran no cmocka test:\n{output}"
    print(output)


@pytest.mark.parametrize("name", c_unit.names())
def test_c_unit_lists_sources_that_exist(name: str) -> None:
    listed = (c_unit.HOST / f"{name}.sources").read_text(encoding="utf-8").split()
    missing = [source for source in listed if not (c_unit.ROOT / source).is_file()]
    assert not missing, f"tests/host/{name}.sources names files that do not exist: {missing}"
