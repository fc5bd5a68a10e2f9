"""The faults, by the numbers of docs/RELIABILITY.md."""

from __future__ import annotations

import fault_actors as actors
import fault_brokers as brokers
import fault_input as input_
import fault_network as network
import kafka_gate as gate
from fault_table import Fault

FAULTS = [
    Fault("F1a", "one of a stage's encoders is killed", 2, actors.encoder_killed(alone=False),
          quick=True),
    Fault("F1b", "a stage's only encoder is killed", 10, actors.encoder_killed(alone=True)),
    Fault("F2", "the fusion actor is killed", 10, actors.actor_killed("fusion")),
    Fault("F3", "the ingest actor is killed", 10, actors.actor_killed("ingest")),
    Fault("F4a", "fusion dies as a transaction begins", 10,
          network.killed_at(gate.ADD_PARTITIONS, "request")),
    Fault("F4b", "fusion dies when its records are written", 10,
          network.killed_at(gate.PRODUCE, "answer")),
    Fault("F4c", "fusion dies before the offsets", 10,
          network.killed_at(gate.ADD_OFFSETS, "request", lost=True)),
    Fault("F4d", "fusion dies after the offsets", 10,
          network.killed_at(gate.TXN_OFFSET_COMMIT, "answer")),
    Fault("F4e", "fusion dies before the commit", 10,
          network.killed_at(gate.END_TXN, "request", lost=True)),
    Fault("F4f", "fusion dies when the commit is sent", 10,
          network.killed_at(gate.END_TXN, "answer", lost=True), quick=True),
    Fault("F4g", "fusion dies, and its successor while it fences", 20,
          network.killed_in_recovery),
    Fault("F5", "the driver is killed", 30, actors.driver_killed),
    Fault("F6", "a node is killed", 30, actors.node_killed, quick=True),
    Fault("F7", "Ray's head is killed", 60, actors.head_killed),
    Fault("F8a", "the broker that leads a results partition is killed", 30,
          brokers.broker_killed(brokers.RESULTS), quick=True),
    Fault("F8b", "the broker that coordinates a slot's transactions is killed", 30,
          brokers.broker_killed("__transaction_state", "faults.0")),
    Fault("F8c", "the broker that coordinates the group is killed", 30,
          brokers.broker_killed("__consumer_offsets", "faults")),
    Fault("F9a", "a broker is restarted", 30, brokers.broker_restarted),
    Fault("F9b", "all brokers are away, and come back", 30, brokers.brokers_away),
    Fault("F9c", "all brokers are away, and the fusion actor is killed", 30,
          brokers.brokers_away_and_death),
    Fault("F9d", "leaders move back after a restart, all brokers alive", 10,
          brokers.leaders_moved),
    Fault("F10a", "a run is frozen, and wakes when another has taken over", 30,
          actors.zombie_run, quick=True),
    Fault("F10b", "a node is frozen, and wakes when it was given up", 30, actors.node_frozen),
    Fault("F10c", "a broker is frozen, and wakes", 30, brokers.broker_frozen),
    Fault("F11a", "the network to all brokers is cut", 30, network.network_cut),
    Fault("F11b", "answers of the brokers do not arrive", 30, network.half_open("answer")),
    Fault("F11c", "questions to the brokers do not arrive", 30, network.half_open("request")),
    Fault("F11d", "the answer to a commit is lost", 30, network.commit_answer_lost),
    Fault("F12", "100 ms each way and 3 Mbit/s", 30, network.network_slow),
    Fault("F13", "an encoder is five times too slow", 30, input_.encoder_slow),
    Fault("F14", "strangers join and leave the group", 30, input_.group_storm),
    Fault("F18", "a broker's disk runs full", 30, brokers.disk_full),
    Fault("F19", "the clocks of all actors jump an hour ahead, and back", 30, input_.clock_steps),
    Fault("F20", "poison: undecodable, deadly and endless records", 150, input_.poison),
    Fault("F21", "a stream falls silent and returns", 30, input_.straggler),
    Fault("F22a", "the driver gets SIGTERM", 30, actors.driver_stopped),
    Fault("F22b", "the driver gets SIGTERM while all brokers are away", 30,
          brokers.stopped_without_brokers),
    Fault("F23", "the driver is killed, and starts with other slots", 30,
          actors.rescaled(3, 5, 1, 2)),
    Fault("F24", "retention overtakes a reader", 30, input_.log_lost),
]  # fmt: skip
