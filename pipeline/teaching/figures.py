"""What a training came to, in short, for the page: accuracy, a row a class, warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLASSES_SHOWN = 50


def summary(told: Mapping[str, Any]) -> dict[str, Any]:
    """Of what ``motet train --json`` prints; accuracy is that of rows that were held out."""
    measured, data = told["metrics"], told["data"]
    return {
        "sha256": told["sha256"],
        "kind": told["kind"],
        "rule": told["rule"],
        "rows": data["rows"],
        "streams": data["streams"],
        "split": data["split"],
        "accuracy": measured["test"]["accuracy"],
        "balanced_accuracy": measured["test"]["balanced_accuracy"],
        "validation": measured["validation"]["accuracy"],
        "training": measured["train"]["accuracy"],
        "majority": measured["majority"],
        "classes": _classes(data["labels"], measured["test"]["confusion"]),
        "warnings": list(told["warnings"]),
        "seconds": told["cost"]["wall_s"],
        "ms_per_window": told["cost"]["ms_per_window"],
    }


def _classes(labels: Mapping[str, int], confusion: list[list[int]]) -> list[dict[str, Any]]:
    """By class, in the order of the confusion matrix (rows are what is true): labelled windows,
    and of those held out how many there were, were told, and were told by this name wrongly.
    """
    found = []
    for at, (label, labelled) in enumerate(sorted(labels.items())):
        right = confusion[at][at]
        named = sum(row[at] for row in confusion)
        held_out = sum(confusion[at])
        found.append(
            {
                "label": label,
                "labelled": labelled,
                "held_out": held_out,
                "right": right,
                "wrongly": named - right,
            }
        )
    return found[:CLASSES_SHOWN]
