"""What image, text and face encoders make of real media: ``python tests/bench/quality_images.py``.

Offline. The pictures are those that come inside installed packages (scikit-learn, and scikit-image
where it is installed), frames of Big Buck Bunny, and text that Pillow draws.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from model_media import clip_of, photo, with_faces, written  # noqa: E402

from pipeline.encoders.base import Clip  # noqa: E402
from pipeline.encoders.loading import load_encoder  # noqa: E402

TEXT = ["Platform 4: 10:42 to Vienna", "Mind the gap", "100 % organic, since 1987"]
ALIKE = [
    ("A man is playing the guitar.", "Someone plays a guitar."),
    ("The train to Vienna leaves late.", "There is a delay of the Vienna train."),
    ("Two dogs run on the beach.", "A pair of dogs is running along the sea."),
]


def pictures() -> dict[str, np.ndarray]:
    found = {name: photo(name) for name in ("china.jpg", "flower.jpg")}
    frames = sorted((ROOT / "pipeline" / "demo" / "media" / "frames").glob("*.jpg"))
    found |= {f"bunny {path.name}": np.asarray(Image.open(path)) for path in frames[::8]}
    try:
        package = distribution("scikit-image")
    except PackageNotFoundError:
        return found
    for name in ("chelsea.png", "coffee.png", "astronaut.png"):
        path = Path(str(package.locate_file(f"skimage/data/{name}")))
        if path.is_file():
            found[name] = np.asarray(Image.open(path).convert("RGB"))
    return found


def show_pictures(device: torch.device) -> None:
    labels = load_encoder("image_labels", {"top": 3}, device)
    reader = load_encoder("image_to_text", {}, device)
    finder = load_encoder("faces", {}, device)
    shown = pictures()
    print(f"{'picture':22}{'faces':>6}  {'labels':64}  image_to_text")
    for name, frame in {
        **shown,
        "two drawn faces": with_faces((60, 60, 120), (300, 100, 90)),
    }.items():
        clip = clip_of(frame)
        [seen], [said], [met] = (e.encode([clip]) for e in (labels, reader, finder))
        told = ", ".join(f"{each['label']} {each['score']:.2f}" for each in seen["labels"])
        print(f"{name:22}{len(met['faces']):>6}  {told:64}  {said!r}")
    print("\ndrawn text, read to the letter:")
    for size in (12, 16, 24, 32):
        [said] = reader.encode([clip_of(written(*TEXT, size=size))])
        right = sum(line in said.splitlines() for line in TEXT)
        print(f"  {size} pixels: {right} of {len(TEXT)} lines")


def show_texts(device: torch.device) -> None:
    encoder = load_encoder("text_embedding", {}, device)
    left, right = (
        np.stack(encoder.encode([Clip("s", 0, 1, text=pair[side]) for pair in ALIKE]))
        for side in (0, 1)
    )
    cosines = left @ right.T
    unrelated = cosines[~np.eye(len(ALIKE), dtype=bool)]
    print(f"\nparaphrases: cosines {np.round(np.diag(cosines), 2).tolist()}")
    print(f"unrelated:   at most {unrelated.max():.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(parser.parse_args().device)
    torch.set_num_threads(1)
    show_pictures(device)
    show_texts(device)


if __name__ == "__main__":
    main()
