"""A flame graph of runs in one process: who holds the interpreter, for how long a window.

Stacks come from py-spy (not among the project's packages: ``pip install py-spy``), which looks at
the process that holds the interpreter so many times a second; the bench runs the job:

    py-spy record --nonblocking --gil --threads --subprocesses -r 300 -f raw -o now.raw -- \\
        python tests/bench/throughput.py --sides local --rounds 1 --records 19200
    python tests/bench/flame.py now.raw:19200 --rate 300 --picture flame.png

Several files (an old checkout's, say) stand one above the other on one scale. Threads of one kind
are one; what starts the run is left out.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

RUN = "actors run "  # of the command line of the process that is looked at
KINDS = (("commit-", "commits"), ("producer", "producers"), ("kafka-io", "fetches"))
COLOURS = (("pipeline/", "#7fb2e5"), ("actors/", "#7fb2e5"), ("kafka/", "#f0b070"), ("", "#d0d0d0"))
STARTS = ("MainThread", "_run_module_as_main", ": start")
LEVELS, POINTS = 16, 4.6  # rows that are shown; width of a letter


@dataclass
class Frame:
    """A function below those that called it; ``samples`` in which it was on the stack."""

    name: str
    samples: int = 0
    below: dict[str, Frame] = field(default_factory=dict)

    def add(self, names: list[str], samples: int) -> None:
        self.samples += samples
        if names:
            self.below.setdefault(names[0], Frame(names[0])).add(names[1:], samples)


def read(file: Path) -> Frame:
    """The stacks of the run, by kind of thread."""
    root = Frame("holds the interpreter")
    for line in file.read_text().splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = stack.split(";")
        at = next((i for i, frame in enumerate(frames) if RUN in frame), None)
        if at is None or len(frames) < at + 3 or any(mark in stack for mark in STARTS):
            continue
        names = [kind(frames[at + 1]), *(plain(frame) for frame in frames[at + 2 :])]
        root.add([name for name in names if "(threading.py)" not in name], int(samples))
    return root


def kind(thread: str) -> str:
    name = thread.partition(": ")[2] or thread
    return next((known for mark, known in KINDS if mark in name), re.sub(r"[-_]\d.*", "", name))


def plain(frame: str) -> str:
    """``Lane.apply (pipeline/lane/lane.py)``: of which line a sample was makes no other frame."""
    return re.sub(r":\d+\)$", ")", frame)


def boxes(frame: Frame, left: float, level: int) -> Iterator[tuple[Frame, float, int]]:
    yield frame, left, level
    if level < LEVELS:
        for child in sorted(frame.below.values(), key=lambda each: -each.samples):
            yield from boxes(child, left, level + 1)
            left += child.samples


def draw(axes: plt.Axes, root: Frame, us_a_sample: float, widest_us: float, title: str) -> None:
    for frame, left, level in boxes(root, 0, 0):
        width = frame.samples * us_a_sample
        if width < widest_us / 600:
            continue
        colour = next(colour for mark, colour in COLOURS if mark in frame.name)
        axes.add_patch(
            Rectangle((left * us_a_sample, -level - 1), width, 1, fc=colour, ec="white", lw=0.4)
        )
        letters = int(width / widest_us * 1_300 / POINTS)
        if letters > 5:
            said = frame.name.partition(" (")[0][:letters]
            axes.text(left * us_a_sample, -level - 0.5, f" {said}", va="center", fontsize=6,
                      clip_on=True)  # fmt: skip
    axes.set_xlim(0, widest_us)
    axes.set_ylim(-LEVELS - 1, 0)
    axes.set_yticks([])
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("microseconds of the interpreter, a window", fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stacks", nargs="+", metavar="FILE:WINDOWS")
    parser.add_argument("--rate", type=float, default=100.0, help="samples a second")
    parser.add_argument("--picture", type=Path, required=True)
    given = parser.parse_args()
    runs = []
    for each in given.stacks:
        file, _, windows = each.rpartition(":")
        root = read(Path(file))
        us_a_sample = 1e6 / given.rate / int(windows)
        runs.append((Path(file).stem, root, us_a_sample))
        for frame in sorted(root.below.values(), key=lambda found: -found.samples):
            print(f"{Path(file).stem}: {frame.name:12s}{frame.samples * us_a_sample:7.1f} us")
    widest_us = max(root.samples * us_a_sample for _, root, us_a_sample in runs)
    figure, rows = plt.subplots(len(runs), 1, figsize=(14, 4.2 * len(runs)), squeeze=False)
    for axes, (name, root, us_a_sample) in zip(rows[:, 0], runs, strict=True):
        total = f"{root.samples * us_a_sample:.0f} us a window"
        draw(axes, root, us_a_sample, widest_us, f"{name}: {total}")
    figure.tight_layout()
    figure.savefig(given.picture, dpi=100)


if __name__ == "__main__":
    main()
