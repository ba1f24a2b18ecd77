"""Chromium on a host, driven from here: what it shows, what it asked for, what it received, and what axe-core says."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from machines import PROJECT, wait_until, write
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from testinfra.host import Host

PORT = 9515
# A wheel that holds axe-core, 4.12.1; none of what it would need is.
AXE = "axe-playwright-python==0.1.8"
ICON = re.compile(r"/favicon\.ico\b")  # of /v2/, where one logs in; the page has its own
READY = (
    "return document.readyState == 'complete' && document.title != 'Wharf'"
    " && !document.querySelector('[aria-busy], .loading')"
)
SERIOUS = """
const done = arguments[arguments.length - 1];
const some = (nodes) => nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" ");
const say = ({ id, impact, nodes }) => `${impact}: ${id}: ${some(nodes)}`;
axe.run(document, { resultTypes: ["violations", "incomplete"] }).then(({ violations, incomplete, passes }) => done([
  ...violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).map(say),
  ...incomplete.filter(({ id }) => id === "color-contrast").map((one) => `undecided: ${say(one)}`),
  ...(passes.some(({ id }) => id === "color-contrast") ? [] : ["no contrast was looked at"]),
]), (error) => done([String(error)]));
"""
# What sticks out at the right of the window, other than what is out of sight on purpose.
SIDEWAYS = """
const width = document.documentElement.clientWidth;
const out = [...document.querySelectorAll("body *")].filter((one) =>
  one.getBoundingClientRect().right > width + 1 && getComputedStyle(one).clipPath === "none");
return [document.documentElement.scrollWidth - width, out.slice(0, 5).map((one) => one.outerHTML.slice(0, 200))];
"""


@cache
def axe() -> str:
    """Return axe-core, which comes from where this project's other Python packages do."""
    place = PROJECT / ".cache/axe"
    name, _, version = AXE.replace("-", "_").partition("==")
    if not (wheels := list(place.glob(f"{name}-{version}-*.whl"))):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), AXE]
        subprocess.run(command, check=True)
        wheels = list(place.glob(f"{name}-{version}-*.whl"))
    with zipfile.ZipFile(wheels[0]) as wheel:
        return wheel.read(f"{name}/axe.min.js").decode()


@contextmanager
def driver_on(host: Host, authority: str) -> Iterator[str]:
    """Let an ordinary user's chromedriver listen on a host while the block runs, and the browser trust a CA.

    It trusts it as on a managed computer, by policy. Yields the driver's address.
    """
    lines = host.check_output(f"cat {authority}").splitlines()
    write(
        host, "/var/tmp/ca.json", json.dumps({"CACertificates": ["".join(line for line in lines if "-" not in line)]})
    )
    host.check_output(
        "install -D -m 0644 /var/tmp/ca.json /etc/chromium/policies/managed/ca.json"
        " && { id visitor >/dev/null 2>&1 || useradd --create-home visitor; }"
        f" && systemd-run --quiet --collect --unit=chromedriver --uid=visitor --setenv=HOME=/home/visitor"
        f" chromedriver --port={PORT} --allowed-ips= --allowed-origins='*'"
    )
    try:
        wait_until(host, f"ss -ltn | grep -q :{PORT}")
        yield f"http://{host.check_output('hostname --ip-address').split()[0]}:{PORT}"
    finally:
        host.check_output("systemctl stop chromedriver; rm /etc/chromium/policies/managed/ca.json")


class Browser:
    """A browser of its own, without a window, at an origin such as https://registry.wharf.test:5000."""

    def __init__(self, driver: str, origin: str, language: str = "en-GB", log: bool = True) -> None:
        """Start it; what it sees and is told is logged unless that is too much."""
        options = webdriver.ChromeOptions()
        options.add_argument("--headless=new")
        options.add_argument(f"--lang={language}")
        options.add_experimental_option("prefs", {"intl.accept_languages": language})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", **({"performance": "ALL"} if log else {})})
        self.origin, self.driver = origin, webdriver.Remote(driver, options=options)
        self.driver.set_script_timeout(60)
        self.logs, self.console = log, list[str]()
        self.requests: dict[
            str, str
        ] = {}  # all addresses that it has asked for anything, or wanted to, by their numbers
        self.received: dict[str, str] = {}  # what was answered, headers too, by the address
        self.resize(1280)
        self.command("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])

    def command(self, name: str, **parameters: object) -> Any:
        """Run a command of the DevTools protocol."""
        return self.driver.execute("executeCdpCommand", {"cmd": name, "params": parameters})["value"]

    def resize(self, width: int, height: int = 800) -> None:
        """Give the window a size; one of a phone's is a phone."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def shade(self, scheme: str) -> None:
        """Prefer light or dark."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def log_in(self, user: str, password: str) -> None:
        """Enter a name and a password as one does in the browser's own dialog: it sends them from then on."""
        self.driver.get(self.origin.replace("://", f"://{user}:{password}@") + "/v2/")

    def open(self, place: str = "#/") -> None:
        """Go to a place of the page, and wait until all is there."""
        self.log()  # the browser forgets what it has received when it goes elsewhere
        self.driver.get("about:blank")
        self.driver.get(f"{self.origin}/{place}")
        self.wait()

    def wait(self) -> None:
        """Wait until the page has shown what it was asked for."""
        self.until(lambda: self.script(READY))

    def until(self, seen: Callable[[], Any], seconds: float = 15) -> Any:
        """Wait until something is true, and return it."""
        end = time.monotonic() + seconds
        while True:
            with suppress(StaleElementReferenceException):  # drawn anew at this moment
                if value := seen():
                    return value
            assert time.monotonic() < end, self.text()
            time.sleep(0.03)

    def script(self, code: str, *arguments: object) -> Any:
        """Run JavaScript."""
        return self.driver.execute_script(code, *arguments)

    def find(self, selector: str, text: str = "") -> WebElement:
        """Return the first element, which must be there, that holds a text."""
        found = [one for one in self.all(selector) if text in one.text]
        assert found, f"no {selector} with {text!r} in: {self.text()}"
        return found[0]

    def all(self, selector: str) -> list[WebElement]:
        """Return all elements."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "body") -> str:
        """Return what can be read there, in one line."""
        # In one step: the page may be drawing it anew.
        code = "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText).join(' ')"
        return " ".join(self.script(code, selector).split())

    def term(self, name: str) -> str:
        """Return what a list of terms says of one."""
        code = "return [...document.querySelectorAll('dt')].find((one) => one.textContent === arguments[0])"
        return " ".join((self.script(f"{code}?.nextSibling.innerText", name) or "").split())

    def focused(self) -> WebElement:
        """Return the element that has the focus."""
        return self.driver.switch_to.active_element

    def clipboard(self) -> str:
        """Return the text in the clipboard."""
        return self.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")

    def serious(self) -> list[str]:
        """Return what axe-core finds that keeps people from using what is shown, or could not decide on contrast."""
        if self.script("return typeof axe") == "undefined":
            self.script(axe())
        return self.driver.execute_async_script(SERIOUS)

    def sideways(self) -> list[Any]:
        """Return by how much one can scroll sideways, and what sticks out."""
        return self.script(SIDEWAYS)

    def log(self) -> None:
        """Take what has been logged since the last time, when all that was asked for is there."""
        for entry in self.driver.execute("getLog", {"type": "browser"})["value"]:
            if not ICON.search(entry["message"]):
                self.console.append(entry["message"])
        answers: dict[str, Any] = {}
        waiting: set[str] = set()
        end = time.monotonic() + 15
        while self.logs:
            for entry in self.driver.execute("getLog", {"type": "performance"})["value"]:
                event = json.loads(entry["message"])["message"]
                of, what = event["params"].get("requestId"), event["method"]
                if what == "Network.requestWillBeSent" and not ICON.search(event["params"]["request"]["url"]):
                    self.requests[of] = event["params"]["request"]["url"]
                    waiting.add(of)
                elif what == "Network.responseReceived":
                    answers[of] = event["params"]["response"]["headers"]
                elif what == "Network.loadingFinished" and of in waiting & answers.keys():
                    body = self.command("Network.getResponseBody", requestId=of)["body"]
                    self.received[self.requests[of]] = json.dumps(answers[of]) + body
                if what in ("Network.loadingFinished", "Network.loadingFailed"):
                    waiting.discard(of)
            if not waiting:
                break
            assert time.monotonic() < end, [self.requests[of] for of in waiting]
            time.sleep(0.05)

    def picture(self, file: Path) -> None:
        """Save a picture of the window."""
        self.script("document.documentElement.style.scrollbarWidth = 'none'")
        file.write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))

    def quit(self) -> None:
        """End it."""
        self.driver.quit()
