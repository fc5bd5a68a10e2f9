"""Takes the pictures of docs/images from a run of the demo, in a Chromium without a window.

``python tests/bench/page_images.py [ARGS OF motet demo]`` waits until all is well and a result
shows what there is to show: it wants a quiet machine. With ``--teach`` first it takes that of
"Teach it" alone: windows are labelled by their stream, and a head is trained and deployed, which
needs a Kafka.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from browser import Browser, browser
from PIL import Image

IMAGES = Path(__file__).parents[2] / "docs" / "images"
BYTES_MAX = 150_000
WIDTH = 1240
RUN_S, PATIENCE_S = 240, 150
WORTH = """[document.getElementById('level').textContent === 'Well' ? 4 : 0,
    (document.querySelector('.said')?.textContent ?? '').length > 40 ? 2 : 0,
    document.querySelector('.plot path.drawn')?.getAttribute('d').split('L').length > 12 ? 2 : 0,
    document.querySelectorAll('#card .boxes').length ? 1 : 0].reduce((a, b) => a + b)"""
BEST = 9
QUESTION = "a kinder wife"
CLASSES, LABELS = ("film", "photographs"), 48  # what the streams show


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    given = sys.argv[1:]
    teaches = given[:1] == ["--teach"]
    command = [sys.executable, "-m", "actors", "demo", "--no-browser", "--seconds", str(RUN_S)]
    demo = subprocess.Popen(
        [*command, *given[teaches:]], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as page:
            page.size(WIDTH, 1000)
            page.open(address(demo))
            page.wait_for("document.querySelector('#card h3') !== null", PATIENCE_S)
            if teaches:
                teach(page)
            else:
                take(page)
                find(page)
    finally:
        demo.terminate()
        demo.communicate(timeout=60)


def address(demo: subprocess.Popen[str]) -> str:
    """Of the live page, as the demo says it."""
    assert demo.stderr is not None
    for line in demo.stderr:
        if found := re.search(r"http://\S+", line):
            return found[0]
    raise SystemExit("the demo has ended without a page")


def take(page: Browser) -> None:
    """The pictures at the best moment that comes."""
    until_s, best = time.monotonic() + PATIENCE_S, -1
    while best < BEST and time.monotonic() < until_s:
        time.sleep(1)
        if page.value(WORTH) > best:
            best = page.value(WORTH)
            save(page, "page.png", "header", "#results", "light")
            save(page, "run.png", "#asked", "#over", "dark")
    print(f"{IMAGES}: {best} of {BEST} points")


def find(page: Browser) -> None:
    """A question, and what was said that comes closest; the best hit is open."""
    page.value(f"document.querySelector('#find input').value = {QUESTION!r}")
    page.value("document.querySelector('#find button').click()")
    page.wait_for("document.querySelector('.hits summary') !== null", 60)
    time.sleep(3)  # the newest texts are compared first: others follow
    page.value("document.querySelector('.hits summary').click()")
    page.wait_for("document.querySelector('.hits details[open] img')?.complete")
    save(page, "find.png", "#find", "#find", "light")


def teach(page: Browser) -> None:
    """Labels by keys, then Train and Deploy, and some labels more, as a visitor gives them."""
    page.value("document.querySelector('#teach-panel summary').click()")
    for name in CLASSES:
        page.value(f"document.querySelector('#teach-name').value = {name!r}")
        page.value("document.querySelector('.teach-add').requestSubmit()")
    label(page, LABELS)
    page.value("document.querySelector('[data-order=train]').click()")
    page.wait_for("document.querySelector('.teach-accuracy') !== null", PATIENCE_S)
    page.value("document.querySelector('[data-order=deploy]').click()")
    page.wait_for("document.querySelector('#teach-force').innerText.includes('in every slot')", 60)
    page.wait_for("document.querySelector('#teach-window').innerText.includes('The head says')", 60)
    label(page, 6)
    page.wait_for("document.querySelector('#teach-live') !== null", 30)
    time.sleep(2)
    save(page, "teach.png", "#teach", "#teach", "light")


def label(page: Browser, count: int) -> None:
    seen = ""
    for _ in range(count):
        shown = "document.querySelector('#teach-window').dataset"
        page.wait_for(f"{shown}.startUs && {shown}.id !== {seen!r}", 60)
        seen, stream = page.value(f"[{shown}.id, {shown}.stream]")
        key = "2" if stream == "gallery" else "1"
        for kind in ("keyDown", "keyUp"):
            page.ask("Input.dispatchKeyEvent", type=kind, key=key, text=key)


def save(page: Browser, name: str, first: str, last: str, scheme: str) -> None:
    """From the top of one part to the bottom of another, in few colours."""
    page.size(WIDTH, 1000, scheme)
    time.sleep(0.5)
    top = page.value(f"document.querySelector('{first}').getBoundingClientRect().top + scrollY")
    end = page.value(f"document.querySelector('{last}').getBoundingClientRect().bottom + scrollY")
    with tempfile.TemporaryDirectory() as folder:
        page.screenshot(Path(folder) / name)
        whole = Image.open(BytesIO((Path(folder) / name).read_bytes()))
    part = whole.convert("RGB").crop((0, max(0, round(top) - 14), whole.width, round(end) + 14))
    colours = 256
    while True:
        sink = BytesIO()
        part.quantize(colours, dither=Image.Dither.NONE).save(sink, "PNG", optimize=True)
        if len(sink.getvalue()) <= BYTES_MAX or colours <= 16:
            break
        colours //= 2
    (IMAGES / name).write_bytes(sink.getvalue())


if __name__ == "__main__":
    main()
