#!/bin/sh
# deploy/recording.yml and deploy/alerts.yml as objects of the Prometheus operator:
#     sh deploy/kuberay/prometheus-rules.sh | kubectl apply -f -
set -eu
cd "$(dirname "$0")/.."
for name in recording alerts; do
    printf -- '---\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n'
    printf 'metadata: {name: motet-%s, namespace: motet}\nspec:\n' "$name"
    sed 's/^/  /' "$name.yml"
done
