"""text_clean: what it promises of any text, and worked examples."""

from __future__ import annotations

import itertools
import sys
import unicodedata

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.encoders.base import Clip
from pipeline.encoders.outputs import checked
from pipeline.encoders.text_clean import GROWTH_MAX, TextClean
from pipeline.errors import InvalidInput

CPU = torch.device("cpu")
OPTIONS = [
    {"urls": urls, "cjk": cjk}
    for urls, cjk in itertools.product(("keep", "tag", "drop"), ("keep", "split"))
]
ENCODERS = [TextClean(CPU, **options) for options in OPTIONS]

# Any code point at all, and texts made of what the rules are about.
ANY = st.text(alphabet=st.characters(exclude_categories=()), max_size=40)
PIECES = st.lists(
    st.sampled_from(
        ["http://", "https://a.b/c?d=e", "www.", "WWW.x.org", "<url>", "ﬁ", "e", "\u0301", "\u200d",
         "\ufe0f", "\u00a8", "か", "\u3099", "ｶﾞ", "漢", "字", "ー", "한", "，", "。", " ", "\u3000",
         "\t", "\n", "\r", "\r\n", "\u2028", "\x00", "\x1f", "\ufeff", "\ud800", ".", ")", "x",
         "\ufdfa", "\u0345", "\u1100", "\u1161", "㌖"]
    ),
    max_size=14,
).map("".join)  # fmt: skip
TEXTS = st.one_of(ANY, PIECES)


def clean(text: str, **options: str) -> str:
    [cleaned] = TextClean(CPU, **options).encode([Clip("s", 0, 1, text=text)])
    return cleaned


@pytest.mark.parametrize("encoder", ENCODERS, ids=map(str, OPTIONS))
@given(text=TEXTS)
@example(text="e\u200d\u0301")
def test_cleaning_twice_changes_nothing(encoder: TextClean, text: str):
    [once] = encoder.encode([Clip("s", 0, 1, text=text)])
    [twice] = encoder.encode([Clip("s", 0, 1, text=once)])
    assert twice == once


@pytest.mark.parametrize("encoder", ENCODERS, ids=map(str, OPTIONS))
@given(text=TEXTS)
def test_what_is_left(encoder: TextClean, text: str):
    [cleaned] = encoder.encode([Clip("s", 0, 1, text=text)])
    assert checked("text", cleaned) == cleaned  # a record can hold it
    unseen = {c for c in cleaned if unicodedata.category(c) in ("Cc", "Cf", "Cs")}
    assert unseen <= {"\n"}
    assert len(cleaned) <= GROWTH_MAX * len(text)
    for line in cleaned.split("\n"):
        assert line == " ".join(line.split())
        assert unicodedata.is_normalized("NFKC", line)


@pytest.mark.parametrize("encoder", ENCODERS, ids=map(str, OPTIONS))
@given(first=TEXTS, second=TEXTS)
def test_a_line_is_cleaned_by_itself(encoder: TextClean, first: str, second: str):
    """So the texts of a window, joined by newline, are cleaned as each alone would be."""
    both = f"{first.rstrip(chr(13))}\n{second}"
    outputs = encoder.encode(
        [Clip("s", 0, 1, text=text) for text in (first.rstrip("\r"), second, both)]
    )
    assert outputs[2] == f"{outputs[0]}\n{outputs[1]}"
    assert encoder.encode([Clip("t", 5, 9, text=both)]) == outputs[2:]


def test_every_character_by_itself():
    """Those that NFKC changes, and all but the plain letters of scripts without case.

    The bound is the true one, and nothing unseen comes out of NFKC.
    """
    encoder = ENCODERS[-1]
    longest = 0
    known = [
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character) not in ("Cn", "Co", "Lo")
        or not unicodedata.is_normalized("NFKC", character)
    ]
    for first in range(0, len(known), 4096):
        clips = [Clip("s", 0, 1, text=character) for character in known[first : first + 4096]]
        once = encoder.encode(clips)
        assert encoder.encode([Clip("s", 0, 1, text=text) for text in once]) == once
        longest = max(longest, *map(len, once))
        assert not {c for text in once for c in text if unicodedata.category(c) == "Cf"}
    assert longest == GROWTH_MAX


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  Ｌｉｆｔ　２ \t is\u00a0 out ", "Lift 2 is out"),
        ("ofﬁce x² ½ ①", "office x2 1⁄2 1"),
        ("cafe\u0301", "café"),
        ("so\u00adft hy\u200bphen\ufeff", "soft hyphen"),
        ("one\r\ntwo\rthree\u2028four\n\nsix", "one\ntwo\nthree\nfour\n\nsix"),
        ("\u202eabc\u202c\x00\x1b[0m", "abc[0m"),
        ("half \ud83d pair", "half pair"),
        ("👍🏽 ❤\ufe0f", "👍🏽 ❤"),
        ("", ""),
    ],
)
def test_examples(text: str, cleaned: str):
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "tagged", "dropped"),
    [
        ("see https://a.b/c?d=1#e, now", "see <url> , now", "see , now"),
        ("(www.example.org)", "( <url> )", "( )"),
        ("HTTP://X.ORG/café!", "<url> !", "!"),
        ("見てhttp://a.jp/と", "見て <url> と", "見て と"),
        ("http:// is no address", "http:// is no address", "http:// is no address"),
    ],
)
def test_urls(text: str, tagged: str, dropped: str):
    assert clean(text) == text
    assert clean(text, urls="tag") == tagged
    assert clean(text, urls="drop") == dropped


def test_cjk_characters_become_words():
    text = "今日はGPUが3つ。한국어 문장 http://a.b/c です"
    assert clean(text) == text
    assert clean(text, cjk="split") == "今 日 は GPU が 3 つ 。한국어 문장 http://a.b/c で す"
    assert clean("か\u309aきx\u0301y", cjk="split") == "か\u309a き x\u0301y"


@pytest.mark.parametrize("options", [{"urls": "hide"}, {"cjk": True}, {"urls": None}])
def test_wrong_options(options: dict):
    with pytest.raises(InvalidInput, match=rf"options\.{next(iter(options))}.*write one of keep"):
        TextClean(CPU, **options)
