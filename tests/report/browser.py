# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian's Chromium without a window, and the report in it."""

from __future__ import annotations

import base64
import contextlib
import os
import typing as t
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

SECONDS = 60
"""The longest that the page may take for anything on a machine that has other work too."""

Element = webdriver.remote.webelement.WebElement


@contextlib.contextmanager
def chromium(*arguments: str, javascript: bool = True) -> t.Iterator[Browser]:
    """Start Chromium for the time of the context."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1440,900"):
        options.add_argument(f"--{argument}")
    for argument in arguments:
        options.add_argument(argument)
    if not javascript:
        options.add_experimental_option(
            "prefs", {"profile.managed_default_content_settings.javascript": 2}
        )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver", env=_environment()))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def _environment() -> dict[str, str]:
    """Return an environment without proxy: the driver is on this machine."""
    return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}


class Browser:
    """A window of Chromium."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._size: list[int] = []

    def open(self, path: Path) -> None:
        """Show a file, as from a mail attachment, and wait until its map is complete."""
        self.driver.get(path.resolve().as_uri())
        self.until(lambda: self.script("return document.documentElement.dataset.ready"))
        self._until_sized()

    def until(self, condition: t.Callable[[], t.Any]) -> t.Any:
        """Wait for a condition and return what it did."""
        return WebDriverWait(self.driver, SECONDS, 0.05).until(lambda _: condition())

    def script(self, text: str, *arguments: t.Any) -> t.Any:
        """Run JavaScript in the page; the driver may, also where the page's policy forbids it."""
        return self.driver.execute_script(text, *arguments)

    def all(self, selector: str) -> list[Element]:
        """Return the elements that a CSS selector finds."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of elements, whether they can be seen or not."""
        return self.script(
            "return Array.from(document.querySelectorAll(arguments[0]), e => e.textContent.trim())",
            selector,
        )

    def text(self, selector: str) -> str:
        """Return the text of the element that a CSS selector finds."""
        (text,) = self.texts(selector)
        return text

    def click(self, selector: str) -> None:
        """Click on the first element that a CSS selector finds."""
        element = self.all(selector)[0]
        self.script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def point(self, element: Element, x: int, y: int) -> None:
        """Move the mouse to a place from the upper left corner of an element."""
        self.script("arguments[0].scrollIntoView({block: 'center'})", element)
        box = element.rect
        ActionChains(self.driver).move_to_element_with_offset(
            element, round(x - box["width"] / 2), round(y - box["height"] / 2)
        ).perform()

    def scheme(self, value: str, *, media: str = "") -> None:
        """Prefer the colour scheme ``light`` or ``dark``; ``media`` may be ``print``."""
        feature = {"name": "prefers-color-scheme", "value": value}
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": [feature]}
        )

    def size(self, width: int, height: int = 900) -> None:
        """Let the page have this size, which may be smaller than Chromium's smallest window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self._size = [width, height]
        self._until_sized()

    def _until_sized(self) -> None:
        """Wait for the size: on a busy machine, a new page is laid out in another one first."""
        if self._size:
            self.until(lambda: self.script("return [innerWidth, innerHeight]") == self._size)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": whole}
        )
        path.write_bytes(base64.b64decode(shot["data"]))

    def print(self, path: Path) -> None:
        """Write the page as PDF on A4."""
        options = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True}
        pdf = self.driver.execute_cdp_cmd("Page.printToPDF", options)
        path.write_bytes(base64.b64decode(pdf["data"]))

    def complaints(self) -> list[str]:
        """Return what the page's console was told since the last call: errors and warnings."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]
