"""Eight frames of a real street, 10 s apart, into build/examples/street.

They are of vtest.avi in Debian's package opencv-doc (96 MB, fetched once by apt-get, unpacked into
a cache); its licence is its own. On other systems there is a message and nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

import av

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tests" / "bench"))

from eval_data import Unreachable, debian  # noqa: E402

SHA256 = "4b12681df35878207ac7097dc66184b2ae552e4bf4ddd2af04a0f03ed0b8682a"
STEP = 100  # frames; there are ten a second
COUNT = 8


def main() -> int:
    folder = ROOT / "build" / "examples" / "street"
    try:
        unpacked = debian("opencv-doc", SHA256)
    except Unreachable as error:
        sys.stderr.write(f"street: {error}\n")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with av.open(str(unpacked / "usr/share/doc/opencv-doc/examples/data/vtest.avi")) as film:
        for number, frame in enumerate(film.decode(video=0)):
            if number % STEP == 0:
                frame.to_image().save(folder / f"{number // STEP}.jpg", quality=95)
            if number == STEP * (COUNT - 1):
                break
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
