#!/usr/bin/env bash
# The main job, shown: a control plane, the operator, the example's version 1, and its version 2 whose migration fails.
# Ends with 0 only when everything went as it should. `demo.sh down` stops what it left running.
set -euo pipefail
cd "$(dirname "$0")/.."
state="${XDG_CACHE_HOME:-$HOME/.cache}/swell/demo"
mkdir -p "$state"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }
stop_operator() {
  if [ -f "$state/operator.pid" ]; then kill "$(cat "$state/operator.pid")" 2>/dev/null || true; rm -f "$state/operator.pid"; fi
}

if [ "${1:-}" = down ]; then
  stop_operator
  if [ -x target/debug/testbed ]; then target/debug/testbed down --name demo >/dev/null 2>&1 || true; fi
  if [ -f "$state/kind" ]; then kind delete cluster --name swell-demo; rm -f "$state/kind"; fi
  echo "stopped"
  exit 0
fi

say "Building swell"
cargo build --workspace --locked
local_plane=no
if [ -n "${KUBECONFIG:-}" ] && command -v kubectl >/dev/null && kubectl --request-timeout=5s get --raw /readyz >/dev/null 2>&1; then
  say "Using the cluster of KUBECONFIG ($KUBECONFIG)"
elif command -v kind >/dev/null && docker info >/dev/null 2>&1; then
  say "Creating a kind cluster"
  kind get clusters | grep -qx swell-demo || kind create cluster --name swell-demo
  touch "$state/kind"
  kind get kubeconfig --name swell-demo > "$state/kubeconfig"
  export KUBECONFIG="$state/kubeconfig"
else
  local_plane=yes
  say "Starting a local control plane (etcd, kube-apiserver, kube-controller-manager, kube-scheduler, KWOK)"
  binaries=$(scripts/controlplane.sh)
  export PATH="$binaries:$PATH"
  KUBECONFIG=$(target/debug/testbed up --name demo | tail -n 1)
  export KUBECONFIG
fi

say "Installing the custom resource and the operator's rights"
kubectl apply --server-side -f crds/application.yaml -f deploy/operator.yaml
kubectl wait --for=condition=Established crd/applications.swell.dev --timeout=30s
stop_operator
target/debug/testbed kubeconfig --kubeconfig "$KUBECONFIG" --service-account swell-system/swell > "$state/operator.kubeconfig"
KUBECONFIG="$state/operator.kubeconfig" NO_COLOR=1 nohup target/debug/swell operator > "$state/operator.log" 2>&1 < /dev/null &
echo $! > "$state/operator.pid"

field() { kubectl get swapp agent -n agent -o "jsonpath=$1"; }

# Prints a line for each change of the operation, until it has ended; stage by stage as it happens.
follow() {
  local before="$1" started=$SECONDS last='' line id phase stage message
  coproc WATCH { exec kubectl get swapp agent -n agent --watch -o \
    'jsonpath={.status.operationState.id}|{.status.operationState.phase}|{.status.operationState.stage.text}|{.status.operationState.message}{"\n"}' 2>/dev/null; }
  local pid=$WATCH_PID
  while IFS='|' read -r -t 300 -u "${WATCH[0]}" id phase stage message; do
    { [ -z "$id" ] || [ "$id" = "$before" ]; } && continue
    line="$phase|$stage"
    if [ "$line" != "$last" ]; then
      printf '  %3ds  %-10s %-16s %s\n' $((SECONDS - started)) "$phase" "$stage" "$message"
      last="$line"
      printf '%s\n' "$stage" >> "$state/stages"
    fi
    case "$phase" in Succeeded | Failed | Error) kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; return 0 ;; esac
  done
  fail "the operation did not end; see $state/operator.log"
}

if kubectl get swapp agent -n agent >/dev/null 2>&1; then
  say "Removing the example of an earlier run"
  kubectl delete swapp agent -n agent --timeout=120s
fi
kubectl apply -f examples/agent/namespace.yaml

say "Version 1: database, migration, API, smoke test"
: > "$state/stages"
kubectl apply -f examples/agent/v1.yaml
follow ''
kubectl wait --for=condition=Ready swapp/agent -n agent --timeout=60s
[ "$(field '{.status.operationState.phase}')" = Succeeded ] || fail "version 1 did not succeed: $(field '{.status.operationState.message}')"
seen=$(grep -oE '\([0-9]+/' "$state/stages" | tr -d '(/')
[ "$seen" = "$(sort -n <<< "$seen")" ] || fail "the stages were not in order: $seen"
image_before=$(kubectl get deploy agent -n agent -o 'jsonpath={.metadata.uid}/{.metadata.generation}')

say "Version 2: its migration fails"
first=$(field '{.status.operationState.id}')
kubectl apply -f examples/agent/v2.yaml
follow "$first"
[ "$(field '{.status.operationState.phase}')" = Failed ] || fail "version 2 should have failed"
message=$(field '{.status.operationState.message}')
grep -q 'code 3' <<< "$message" || fail "the message has no exit code: $message"
grep -q 'contains null values' <<< "$message" || fail "the message has not the last words of the migration: $message"
image_after=$(kubectl get deploy agent -n agent -o 'jsonpath={.metadata.uid}/{.metadata.generation}')
[ "$image_before" = "$image_after" ] || fail "the Deployment of version 1 was touched"
kubectl get job agent-notify -n agent >/dev/null || fail "the SyncFail hook did not run"
kubectl wait --for=condition=Available deploy/agent -n agent --timeout=10s

say "As it should be: version 1 keeps running, the SyncFail hook has run, the status says why"
kubectl get swapp -n agent
echo
field '{range .status.operationState.syncResult.resources[?(@.status=="SyncFailed")]}{.kind}/{.name}: {.message}{"\n"}{.log}{"\n"}{end}'
say "Look around"
[ "$local_plane" = yes ] && echo "  export PATH=$binaries:\$PATH"
cat <<END
  export KUBECONFIG=$KUBECONFIG
  kubectl get swapp -n agent -o wide
  kubectl describe swapp agent -n agent
  kubectl get all -n agent
  less $state/operator.log
  make demo-down
END
