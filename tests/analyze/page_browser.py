"""Chromium, driven for the tests of `report.html`: one start for each file of tests."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

AXE = Path(os.environ.get("BUILD", "build")) / "axe" / "node_modules" / "axe-core" / "axe.min.js"
_WIDE = (1200, 1100)
_PATIENCE = 30  # seconds, for a page that is loaded and drawn
# A sandbox takes a user namespace, which root does not have in a container; GPU and shared memory neither.
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--no-first-run", "--disable-background-networking", "--disable-sync", "--disable-component-update")  # fmt: skip
# Where nobody looks: frames that are drawn in the thread of the page take half of the time. No picture can be taken of them.
_UNSEEN = "--disable-threaded-compositing"


def lacking() -> str:
    """Return what keeps a browser from being driven here; "" if nothing does."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium or not shutil.which("chromedriver"):
        return "chromium and chromedriver are not installed (make deps)"
    return "" if find_spec("selenium") else "python3-selenium is not installed (make deps)"


class Browser:
    """One browser, and the page that is open in it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        driver.set_script_timeout(_PATIENCE)
        driver.set_page_load_timeout(_PATIENCE)

    def open(self, path: Path, drawn: bool = True) -> Browser:
        """Open a page; with ``drawn`` wait until its scripts have drawn it."""
        self.driver.get(path.as_uri())
        if drawn:
            from selenium.webdriver.support.ui import WebDriverWait

            is_ready = "return document.documentElement.dataset.ready !== undefined"
            WebDriverWait(self.driver, _PATIENCE, 0.02).until(lambda _: self.js(is_ready), "the page was not drawn")
        return self

    def js(self, script: str, *arguments: object) -> Any:
        """Return what a function's body returns in the page."""
        return self.driver.execute_script(script, *arguments)

    def later(self, script: str, *arguments: object) -> Any:
        """Return what a script hands to its last argument, a function."""
        return self.driver.execute_async_script(script, *arguments)

    def texts(self, selector: str) -> list[str]:
        """Return the text of each element as it stands on the screen."""
        found: list[str] = self.js("return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)", selector)
        return found

    def data(self, selector: str) -> list[dict[str, str]]:
        """Return the data attributes of each element."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => ({...one.dataset}))"
        found: list[dict[str, str]] = self.js(script, selector)
        return found

    def type(self, selector: str, words: str) -> None:
        """Replace what stands in a field, key by key."""
        field = self.driver.find_element("css selector", selector)
        field.clear()
        field.send_keys(words)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        from selenium.webdriver.common.action_chains import ActionChains

        actions = ActionChains(self.driver, duration=0)
        for key in keys:
            actions.send_keys(key)
        actions.perform()

    def click(self, selector: str) -> None:
        """Click on an element as a mouse does."""
        self.driver.find_element("css selector", selector).click()

    def focused(self) -> dict[str, str]:
        """Return the data attributes of the element that has the focus, with its id."""
        found: dict[str, str] = self.js("return {...document.activeElement.dataset, id: document.activeElement.id}")
        return found

    def complaints(self) -> list[str]:
        """Return what the console holds of errors since it was last asked; a refused request is one."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    @contextmanager
    def emulated(self, width: int = _WIDE[0], medium: str = "", scheme: str = "light", scripts: bool = True) -> Iterator[Browser]:
        """Show what comes on a screen of that width in CSS pixels, on paper (``print``), in the dark, or without scripts."""
        call = self.driver.execute_cdp_cmd
        call("Emulation.setDeviceMetricsOverride", {"width": width, "height": _WIDE[1], "deviceScaleFactor": 1, "mobile": False})
        call("Emulation.setEmulatedMedia", {"media": medium, "features": [{"name": "prefers-color-scheme", "value": scheme}]})
        call("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        try:
            yield self
        finally:
            call("Emulation.setScriptExecutionDisabled", {"value": False})
            call("Emulation.setEmulatedMedia", {"media": "", "features": []})
            call("Emulation.clearDeviceMetricsOverride", {})

    def printed(self) -> bytes:
        """Return the page as PDF, as the browser prints it."""
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])

    def picture(self, path: Path) -> None:
        """Write what is on the screen to a file."""
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]))

    def faults(self) -> list[str]:
        """Return what axe-core finds serious or critical in the page, with a few cells of each strip: it looks at each of
        thousands for seconds, and they are alike. Nothing can be asked of the page afterwards."""
        self.js("document.querySelectorAll('.strip .cell:nth-child(n+9):not(.here):not(.guilty)').forEach((one) => one.remove())")
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
        found = self.later(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document, {resultTypes: ['violations']}).then((result) => done(JSON.stringify(result.violations)))"
        )
        serious = (one for one in json.loads(found) if one["impact"] in ("serious", "critical"))
        return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:160]}" for one in serious]


@contextmanager
def started(is_seen: bool = False) -> Iterator[Browser]:
    """Start a browser; skip, with the reason, where there is none to drive.

    With ``is_seen`` it draws as on a screen, and pictures can be taken.
    """
    reason = lacking()
    if reason:
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
    for option in (*_OPTIONS, *(() if is_seen else (_UNSEEN,)), f"--window-size={_WIDE[0]},{_WIDE[1]}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
