# SPDX-License-Identifier: MIT
"""A page of `qpal report` in a real browser (Debian's chromium, headless); run by hand, never by
the tests:

    python3 tests/report/browser.py report.html SCREENSHOTS [chromium]

At two widths, light and dark: nothing on the console, nothing loaded but the page, no scrolling of
the page itself to the side; every drawing is reached by Tab and every mark in it by the arrow keys,
each with the words of its tooltip beside it inside the window.  Screenshots are written for a
person to look at."""
import base64
import fcntl
import json
import os
import subprocess
import sys
import tempfile


class Browser:
    """Chromium's DevTools protocol over a pipe: JSON texts that end with a NUL."""

    def __init__(self, program, folder):
        here, there = os.pipe(), os.pipe()
        self.to, self.back = here[1], there[0]

        def pipes():  # by way of numbers that are neither 3 nor 4
            reads, writes = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (here[0], there[1]))
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        self.process = subprocess.Popen([
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
            "--hide-scrollbars", f"--user-data-dir={folder}", "about:blank"], preexec_fn=pipes,
                                        close_fds=False, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(here[0])
        os.close(there[1])
        self.number, self.held, self.events, self.session = 0, b"", [], None

    def read(self):
        while b"\0" not in self.held:
            more = os.read(self.back, 1 << 20)
            if not more:
                raise SystemExit("chromium ended")
            self.held += more
        text, _, self.held = self.held.partition(b"\0")
        return json.loads(text)

    def ask(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            got = self.read()
            if got.get("id") == self.number:
                if "error" in got:
                    raise SystemExit(f"{method}: {got['error']}")
                return got["result"]
            self.events.append(got)

    def wait(self, method):
        while not any(e.get("method") == method for e in self.events):
            self.events.append(self.read())

    def value(self, expression):
        got = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in got:
            raise SystemExit(f"{expression}: {got['exceptionDetails']}")
        return got["result"].get("value")

    def key(self, key, code):
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                     windowsVirtualKeyCode=code)


TIP = """(() => {
  const tip = document.getElementById('tip'), box = tip.getBoundingClientRect();
  const at = document.activeElement;
  return { shown: getComputedStyle(tip).display !== 'none', text: tip.textContent,
           wanted: at.dataset.tip,
           inside: box.left >= 0 && box.top >= 0 && box.right <= innerWidth &&
                   box.bottom <= innerHeight,
           drawing: [...document.querySelectorAll('figure svg')].indexOf(at.closest('svg')) };
})()"""


def need(good, what):
    if not good:
        print(f"FAIL: {what}")
        raise SystemExit(1)


def walk(browser, name):
    """By keyboard alone through every mark of every drawing."""
    drawings = browser.value("document.querySelectorAll('figure svg').length")
    seen = 0
    for drawing in range(drawings):
        browser.key("Tab", 9)
        marks = browser.value(f"document.querySelectorAll('figure svg')[{drawing}]"
                              ".querySelectorAll('[data-tip]').length")
        need(marks > 0, f"{name}: drawing {drawing} has no marks")
        for mark in range(marks):
            tip = browser.value(TIP)
            where = f"{name}: drawing {drawing}, mark {mark}"
            need(tip["drawing"] == drawing, f"{where}: Tab went to drawing {tip['drawing']}")
            need(tip["shown"] and tip["text"] and tip["text"] == tip["wanted"],
                 f"{where}: no tooltip: {tip}")
            need(tip["inside"], f"{where}: the tooltip is outside of the window")
            if drawing == 0 and mark == 1:
                shoot(browser, name + "-tooltip", whole=False)
            if mark + 1 < marks:
                browser.key("ArrowRight", 39)
            seen += 1
        browser.key("Home", 36)
        need(browser.value(TIP)["wanted"] is not None, f"{name}: Home leaves the drawing")
    browser.key("Escape", 27)
    need(not browser.value(TIP)["shown"], f"{name}: Escape does not hide the tooltip")
    browser.value("document.activeElement.blur(); scrollTo(0, 0)")
    return drawings, seen


def shoot(browser, name, whole=True):
    data = browser.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
    with open(os.path.join(SHOTS, name + ".png"), "wb") as f:
        f.write(base64.b64decode(data))


def look(browser, url, width, scheme):
    name = f"{width}-{scheme}"
    browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                mobile=False)
    browser.ask("Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.events.clear()
    browser.ask("Page.navigate", url=url)
    browser.wait("Page.loadEventFired")
    need(browser.value("document.documentElement.scrollWidth <= innerWidth"),
         f"{name}: the page is too wide")
    drawings, marks = walk(browser, name)
    shoot(browser, name)
    said = [e for e in browser.events if e.get("method") in
            ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")]
    need(not said, f"{name}: the console says {said}")
    loaded = [
        e["params"]["request"]["url"] for e in browser.events
        if e.get("method") == "Network.requestWillBeSent"]
    loaded = [u for u in loaded if not u.startswith("data:")]
    need(loaded == [url], f"{name}: loaded {loaded}")
    print(f"{name}: {drawings} drawings, {marks} marks by keyboard, console empty, nothing loaded")


def main():
    url = "file://" + os.path.abspath(sys.argv[1])
    os.makedirs(SHOTS, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(sys.argv[3] if len(sys.argv) > 3 else "chromium", folder)
        try:
            target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
            browser.session = browser.ask("Target.attachToTarget", targetId=target,
                                          flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                browser.ask(domain + ".enable")
            for width in (1280, 390):
                for scheme in ("light", "dark"):
                    look(browser, url, width, scheme)
        finally:
            browser.process.terminate()
            browser.process.wait()


SHOTS = sys.argv[2]
main()
