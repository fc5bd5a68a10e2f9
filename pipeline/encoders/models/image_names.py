"""The names of what an image network tells apart, and labels as a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from pipeline.encoders.models.choices import own_file
from pipeline.encoders.options import wrong_option

_IMAGENET = "imagenet-labels.txt"  # where it comes from: data/NOTICE
# Of ImageNet's names those that English says without an article.
_BARE = frozenset((
    "binoculars", "broccoli", "carbonara", "chocolate sauce", "consomme", "corn", "dough", "eggnog",
    "guacamole", "hay", "ice cream", "mashed potato", "parallel bars", "rapeseed", "red wine",
    "spaghetti squash", "sunglasses", "swimming trunks", "toilet tissue",
))  # fmt: skip
_VOWEL_UNHEARD = ("uni", "eu", "one")  # a unicycle, a European gallinule
_H_UNHEARD = ("hour", "heir", "hono")


def class_names(file: Any, count: int) -> list[str]:
    """A name for each of ``count`` outputs: the lines of the user's file, or ImageNet's classes.

    Raises InvalidInput where there are not as many as outputs.
    """
    if file is None:
        folder = resources.files("pipeline.encoders.models") / "data"
        text = (folder / _IMAGENET).read_text("utf-8")
    else:
        path = own_file("labels", file, (".txt",))
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            raise wrong_option("labels", file, "is no UTF-8", "save it as UTF-8") from None
    names = text.splitlines()
    if len(names) != count:
        why = f"{len(names)} names for a network with {count} outputs"
        raise wrong_option("labels", file, why, "name a text file with one name a line")
    return names


def as_sentence(labels: Sequence[Mapping[str, Any]]) -> str:
    """``a picture of an espresso, perhaps a cup``: the first label, and the second where given."""
    if not labels:
        return ""
    first, *more = (with_article(each["label"]) for each in labels[:2])
    return f"a picture of {', perhaps '.join([first, *more])}"


def with_article(name: str) -> str:
    """``an espresso``, ``a unicycle``, ``sunglasses``."""
    if name in _BARE:
        return name
    low = name.lower()
    vowel = low[:1] in tuple("aeiou") and not low.startswith(_VOWEL_UNHEARD)
    return f"{'an' if vowel or low.startswith(_H_UNHEARD) else 'a'} {name}"
