"""Ray Data: a bounded read, ``map_batches`` in actors, ``write_kafka``: best effort, no windows."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from job import INPUT, Features, event_time, result


class Encode:
    """One actor of the pool: a batch of records to their results.

    ``begun`` is the file that tells the driver when the first batch came, on the machine's clock.
    """

    def __init__(self, kind: str, begun: Path) -> None:
        self._features = Features(kind)
        self._begun = begun

    def __call__(self, batch):
        if not self._begun.exists():
            self._begun.write_text(str(time.monotonic()))
        vectors = self._features.of(list(batch["value"]))
        rows = [
            result(key.decode(), int(event_time(headers).timestamp() * 1_000_000), [vector])
            for key, headers, vector in zip(batch["key"], batch["headers"], vectors, strict=True)
        ]
        return {name: [row[name] for row in rows] for name in ("stream", "start_us", "vector")}


def main(bootstrap: str, name: str, kind: str, records: int) -> None:
    # The workers find these programs and motet where this process found them.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    place = tempfile.TemporaryDirectory()
    begun = Path(place.name) / "begun"
    rows = ray.data.read_kafka(INPUT, bootstrap_servers=bootstrap).map_batches(
        Encode,
        fn_constructor_args=(kind, begun),
        batch_size=200,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    rows.write_kafka(f"{name}.results", bootstrap, key_field="stream")
    seconds = time.monotonic() - float(begun.read_text())
    print(json.dumps({"windows": records, "seconds": seconds}))
    ray.shutdown()
    place.cleanup()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
