"""Training a translation from sentence pairs, and the folder that it goes into."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.encoders.models.translation.files import CARD, FORMAT, KIND, TENSORS, Translation
from pipeline.fusion.head_files import replace_file
from pipeline.training.fitting import Curve
from pipeline.training.spent import Spent, versions
from pipeline.training.translate.fit import Progress, TranslateOptions, fit
from pipeline.training.translate.pairs import Parts, digest


@dataclass(frozen=True, eq=False)
class TrainedTranslation:
    """``told``: data, training, cost, versions and seed, as they stand in the card."""

    model: Translation
    curve: Curve
    told: dict[str, Any]

    def save(self, folder: Path, measured: Mapping[str, Any]) -> str:
        """Writes the folder, the card last; gives the hash of what the model decides by."""
        from safetensors.torch import save

        state = self.model.network.state_dict()
        data = save({name: array.float().cpu().contiguous() for name, array in state.items()})
        decides = {
            "format": FORMAT,
            "kind": KIND,
            "model": self.model.as_json(),
            "tensors": {"file": TENSORS, "sha256": hashlib.sha256(data).hexdigest()},
        }
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / TENSORS, data)
        card = {**decides, "metrics": dict(measured), **self.told}
        text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
        replace_file(folder / CARD, f"{text}\n".encode())
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def train_translation(
    parts: Parts, options: TranslateOptions, progress: Progress = lambda _share: None
) -> TrainedTranslation:
    """The same pairs, options and seed give the same arrays, to the bit, on one CPU."""
    spent = Spent()
    model, curve = fit(parts, options, progress)
    cost = spent.told(len(parts.train) * len(curve.train_loss))
    count = sum(array.numel() for array in model.network.parameters())
    told = {
        "data": {
            "pairs": len(parts.train) + len(parts.validation) + len(parts.test),
            "split": {
                "by": "pair",
                "train": len(parts.train),
                "validation": len(parts.validation),
                "test": len(parts.test),
            },
            "sha256": digest([*parts.train, *parts.validation, *parts.test]),
        },
        "training": {
            **options.as_json(),
            "epochs_run": len(curve.train_loss),
            "best_epoch": curve.best,
        },
        "cost": {"parameters": count, **cost},
        "versions": versions("numpy", "torch"),
        "seed": options.seed,
    }
    return TrainedTranslation(model, curve, told)
