#!/bin/sh
# `motet-leave SECONDS`, the preStop of a worker's pod: tells Ray that this node goes, and waits until
# what stands on it has moved elsewhere (docs/SCALING.md, A node that will go) and Ray's node has
# ended by itself, or the seconds have passed. Then SIGTERM comes and ends what is left.
set -eu
limit_s=$1
for entry in /proc/[0-9]*; do
    words=$({ tr '\0' '\n' < "$entry/cmdline"; } 2> /dev/null) || continue
    case $words in */raylet/raylet*) ;; *) continue ;; esac
    id=$(printf '%s\n' "$words" | sed -n 's/^--node_id=//p' | head -n 1)
    [ -n "$id" ] && raylet=$entry && break
done
if [ -z "${raylet:-}" ]; then
    echo "motet-leave: there is no Ray node here" >&2
    exit 0
fi
ray drain-node --address "$RAY_ADDRESS" --node-id "$id" --reason DRAIN_NODE_REASON_PREEMPTION \
    --reason-message "its pod ends" --deadline-remaining-seconds "$limit_s"
while [ "$limit_s" -gt 0 ] && [ -d "$raylet" ]; do
    sleep 1
    limit_s=$((limit_s - 1))
done
