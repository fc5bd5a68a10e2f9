"""Clusters that are simulated: how large, how loaded, and what they run on."""

from __future__ import annotations

from typing import NamedTuple


class Device(NamedTuple):
    """What a replica's batches take on its device: t(B) = fixed + each * B, in microseconds.

    ``on_cores``: it is the cores of its node that do it.
    """

    fixed_us: float
    window_us: float
    on_cores: bool = False


class Setup(NamedTuple):
    """A pipeline of one stage on a cluster. ``rate``: windows a second that arrive in all; 0: all
    ``windows`` lie in the log already, and the run ends with them.

    ``burst``: for a tenth of the time, half a second each, a lane gets so many times its mean.
    ``restart_together``: owners that were lost at once are started side by side, ``ask_together``:
    they are asked for their status side by side. ``spread_order``:
    among replicas that have as little to do each owner begins with others. ``call_batches`` and
    ``commit_interval_us`` as in motet. ``node_loss_us``: when the last node is lost, and
    ``detect_us`` later it is known.
    """

    name: str
    nodes: int
    cores: int
    brokers: int
    broker_cores: int
    owners: int
    slots: int
    lanes: int
    streams: int
    replicas: int
    device: Device
    rate: float
    windows: int = 0
    seconds: float = 4.0
    warm_s: float = 1.0
    burst: float = 3.0
    batch_max: int = 64
    call_batches: int = 2
    commit_interval_us: int = 250_000
    in_flight_bytes: int = 256 << 20  # of a slot
    network_bytes_s: float = 12.5e9
    broker_bytes_s: float = 3.0e9
    one_machine: bool = False  # all nodes, the brokers and the driver share the cores of one
    one_process: bool = False  # both halves are threads of one interpreter: ``--local``
    spread_order: bool = True
    restart_together: bool = True
    ask_together: bool = True
    node_loss_us: int | None = None
    detect_us: int = 4_000_000
    seed: int = 1


# No GPU was measured: a replica is taken to do 1,460 windows a second in full batches.
GPU = Device(2_000, 650)
GPUS_PER_NODE, CORES_PER_NODE = 8, 96
STREAMS_PER_GPU = 1_000  # of a window a second each
OWNER_WINDOWS_S = 3_000  # what an owner is planned for


def cluster(gpus: int, **changes: object) -> Setup:
    """The cluster of that many GPUs at two thirds of what they can do."""
    rate = gpus * STREAMS_PER_GPU
    owners = max(1, -(-rate // OWNER_WINDOWS_S))
    setup = Setup(
        name=f"{gpus:,} GPUs",
        nodes=-(-gpus // GPUS_PER_NODE),
        cores=CORES_PER_NODE,
        brokers=max(3, -(-gpus // 25)),
        broker_cores=16,
        owners=owners,
        slots=owners,
        lanes=10 * gpus,
        streams=STREAMS_PER_GPU * gpus,
        replicas=gpus,
        device=GPU,
        rate=float(rate),
    )
    return setup._replace(**changes)  # type: ignore[arg-type]


SIZES = (1, 8, 64, 256, 1_000)
