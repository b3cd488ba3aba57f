#!/usr/bin/env bash
# The main job, shown: a control plane, the operator, the example's version 1, and its version 2 whose migration fails.
# Ends with 0 only when everything went as it should, and leaves cluster and operator running. `demo.sh down` stops them.
# Where: the cluster of KUBECONFIG if it answers; a kind cluster if kind, kubectl, helm and docker are there, with the operator in it,
# from the image of `make image` by the chart; else a local control plane. SWELL_DEMO=kind insists on kind, SWELL_DEMO=local on the last.
set -euo pipefail
cd "$(dirname "$0")/.."
state="${XDG_CACHE_HOME:-$HOME/.cache}/swell/demo"
mkdir -p "$state"
swell=target/debug/swell # debug: it waits for pods all the time, and `make test` has built it already

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
process=yes # the operator: a process of this machine, or pods of the chart
fail() {
  printf '\ndemo: %s\n' "$*" >&2
  [ "$process" = yes ] || kubectl logs -n swell-system -l app.kubernetes.io/name=swell --tail=-1 > "$state/operator.log" 2>&1 || true
  printf 'demo: the log of the operator is %s; cluster and operator still run, make demo-down stops them\n' "$state/operator.log" >&2
  exit 1
}
# The process of the file, unless that number is somebody else's by now.
operator_pid() {
  local pid
  pid=$(cat "$state/operator.pid" 2>/dev/null) || return 1
  [[ $(ps -p "$pid" -o args= 2>/dev/null) == *"swell operator"* ]] && printf '%s' "$pid"
}
operator_runs() {
  if [ "$process" = yes ]; then
    operator_pid >/dev/null
  else
    local pods
    # A question without an answer says nothing about the pods.
    pods=$(kubectl get pods -n swell-system -l app.kubernetes.io/name=swell --field-selector=status.phase=Running -o name) || return 0
    [ -n "$pods" ]
  fi
}
stop_operator() {
  local pid
  if pid=$(operator_pid); then
    kill "$pid" 2>/dev/null || true
    # Two operators at a time would both write: the next one starts when this one has ended, which takes a few seconds at most.
    timeout 15 tail --pid="$pid" -f /dev/null || kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$state/operator.pid"
}
stop_watch() { [ -z "${watch:-}" ] || kill "$watch" 2>/dev/null || true; watch=; }

if [ "${1:-}" = down ]; then
  if [ -f "$state/foreign" ]; then
    # Somebody's cluster: the example goes, all else stays.
    export KUBECONFIG="$state/kubeconfig"
    kubectl delete swapp agent -n agent --ignore-not-found --timeout=120s \
      || echo "the example could not be removed; is the operator still running?"
    echo "On that cluster are still: namespace agent, and what 'kubectl delete -f deploy/operator.yaml -f crds/application.yaml'"
    echo "would remove (with the CRD, every Application on the cluster); before Kubernetes 1.36 also clusterrole and clusterrolebinding swell-classic."
  fi
  stop_operator
  if [ -x target/debug/testbed ]; then target/debug/testbed down --name demo 2>/dev/null || true; fi
  if [ -f "$state/kind" ]; then kind delete cluster --name swell-demo; fi
  rm -f "$state"/{kind,foreign,kubeconfig,operator.kubeconfig}
  echo "stopped"
  exit 0
fi

trap stop_watch EXIT
trap 'printf "\ndemo: interrupted\n" >&2; stop_watch; stop_operator; echo "demo: make demo-down stops the cluster" >&2; exit 130' INT TERM

build_programs() {
  say "Building swell"
  cargo build --workspace --locked
}
# The kind cluster of an earlier run is not somebody's cluster: its operator is in it.
if [ -f "$state/kind" ] && [ "${KUBECONFIG:-}" = "$state/kubeconfig" ]; then unset KUBECONFIG; fi
local_plane=no
if [ -z "${SWELL_DEMO:-}" ] && [ -n "${KUBECONFIG:-}" ] && command -v kubectl >/dev/null \
  && kubectl --request-timeout=5s get --raw /readyz >/dev/null 2>&1; then
  build_programs
  say "Using the cluster of KUBECONFIG ($KUBECONFIG)"
  # One file, also where KUBECONFIG is a list; and the demo's own cluster of an earlier run stays the demo's own.
  kubectl config view --raw --minify --flatten > "$state/kubeconfig.new"
  case "$KUBECONFIG" in */swell/demo/* | */swell/testbed/*) ;; *) touch "$state/foreign" ;; esac
else
  [ -z "${KUBECONFIG:-}" ] || [ -n "${SWELL_DEMO:-}" ] \
    || say "The cluster of KUBECONFIG ($KUBECONFIG) does not answer, or there is no kubectl: not used"
  rm -f "$state/foreign"
  if [ "${SWELL_DEMO:-}" != local ] && command -v kind >/dev/null && command -v kubectl >/dev/null && command -v helm >/dev/null \
    && docker info >/dev/null 2>&1; then
    process=no
    say "Creating a kind cluster"
    if ! kind get clusters 2>/dev/null | grep -qx swell-demo; then kind create cluster --name swell-demo --wait 180s; fi
    touch "$state/kind"
    kind get kubeconfig --name swell-demo > "$state/kubeconfig.new"
  elif [ "${SWELL_DEMO:-}" = kind ]; then
    echo "demo: SWELL_DEMO=kind, but one of kind, kubectl, helm and a docker that answers is missing" >&2
    exit 1
  else
    local_plane=yes
    build_programs
    say "Starting a local control plane (etcd, kube-apiserver, kube-controller-manager, kube-scheduler, KWOK)"
    binaries=$(scripts/controlplane.sh)
    export PATH="$binaries:$PATH"
    cp "$(target/debug/testbed up --name demo | tail -n 1)" "$state/kubeconfig.new"
  fi
fi
chmod 600 "$state/kubeconfig.new"
mv "$state/kubeconfig.new" "$state/kubeconfig"
export KUBECONFIG="$state/kubeconfig"

stop_operator
if [ "$process" = yes ]; then
  say "Installing the custom resource and the operator's rights"
  kubectl apply --server-side -f crds/application.yaml -f deploy/operator.yaml
  minor=$(kubectl version -o json | sed -n '/"serverVersion"/,/}/s/.*"minor": "\([0-9]*\).*/\1/p')
  if [ "$minor" -lt 36 ]; then
    # No constrained impersonation there: the chart's rbac.impersonation=classic.
    kubectl create clusterrole swell-classic --verb=impersonate --resource=serviceaccounts --dry-run=client -o yaml | kubectl apply --server-side -f -
    kubectl create clusterrolebinding swell-classic --clusterrole=swell-classic --serviceaccount=swell-system:swell --dry-run=client -o yaml \
      | kubectl apply --server-side -f -
  fi
  kubectl wait --for=condition=Established crd/applications.swell.dev --timeout=30s
  (umask 077 && target/debug/testbed kubeconfig --service-account swell-system/swell > "$state/operator.kubeconfig")
  # A process group of its own: Ctrl-C in the terminal is not for it, and it outlives this script.
  set -m
  KUBECONFIG="$state/operator.kubeconfig" NO_COLOR=1 nohup "$swell" operator > "$state/operator.log" 2>&1 < /dev/null &
  echo $! > "$state/operator.pid"
  set +m
else
  say "Building the operator's image"
  make --no-print-directory image
  archive=$(echo "${CARGO_TARGET_DIR:-target}"/image/*.oci.tar)
  # The name that the archive gives the image, which is the one that the nodes know it by.
  name=$(tar -xOf "$archive" ./index.json | jq -r '.manifests[0].annotations["org.opencontainers.image.ref.name"]')
  say "Loading $name into kind and installing the chart"
  kind load image-archive "$archive" --name swell-demo
  # The digest as an annotation: the same name with other content makes new pods.
  helm upgrade --install swell deploy/chart --namespace swell-system --create-namespace --wait --timeout 180s \
    --set "image.repository=${name%:*}" --set "image.tag=${name##*:}" --set image.pullPolicy=Never \
    --set-string "podAnnotations.swell\.dev/image-digest=$(cat "${archive%.oci.tar}.digest")" || fail "the chart could not be installed"
  kubectl wait --for=condition=Established crd/applications.swell.dev --timeout=30s
  kubectl get pods -n swell-system -o wide
fi

field() { kubectl get swapp agent -n agent -o "jsonpath=$1"; }

# Prints a line for each stage as it begins and for what it then waits for, until the operation that is not $1 has ended.
follow() {
  local before="$1" started=$SECONDS heard=$SECONDS last='' key id phase stage message
  coproc WATCH { exec kubectl get swapp agent -n agent --watch -o \
    'jsonpath={.status.operationState.id}|{.status.operationState.phase}|{.status.operationState.stage.text}|{.status.operationState.message}{"\n"}' 2>/dev/null; }
  watch=$WATCH_PID
  while true; do
    # The time limit only serves to notice that nobody is at work any more.
    if ! IFS='|' read -r -t 2 -u "${WATCH[0]}" id phase stage message; then
      if [ "$process" = yes ]; then
        operator_runs || fail "the operator has ended; the last it said: $(tail -n 3 "$state/operator.log")"
      else
        operator_runs || fail "no pod of the operator runs: $(kubectl get pods -n swell-system)"
      fi
      kill -0 "$watch" 2>/dev/null || fail "the watch of the Application has ended"
      [ $((SECONDS - heard)) -lt 900 ] || fail "nothing has changed for 15 minutes"
      continue
    fi
    heard=$SECONDS
    { [ -z "$id" ] || [ "$id" = "$before" ]; } && continue
    if [ "$phase" = Running ]; then
      # Before the semicolon stands why it failed, which the last line says; behind the colon how far an object is.
      message=${message##*; } && message=${message#"$stage"} && message=${message# } && message=${message%%: *}
    fi
    key="$phase|$stage"
    # Nothing to wait for is no news inside a stage.
    if [ "$key" != "${last%%"|>"*}" ] || { [ -n "$message" ] && [ "$key|>$message" != "$last" ]; }; then
      printf '  %3ds  %-10s %-16s %s\n' $((SECONDS - started)) "$phase" "$stage" "$message"
      last="$key|>$message"
      printf '%s\n' "$stage" >> "$state/stages"
    fi
    case "$phase" in Succeeded | Failed | Error) break ;; esac
  done
  stop_watch
  wait "$WATCH_PID" 2>/dev/null || true
}

# The API as it runs: the Deployment's generation, and which pods there are with how many restarts.
api_now() {
  kubectl get deploy agent -n agent -o 'jsonpath={.metadata.uid} {.metadata.generation} available {.status.availableReplicas}{"\n"}'
  kubectl get pods -n agent -l app.kubernetes.io/name=agent --sort-by=.metadata.name \
    -o 'jsonpath={range .items[*]}{.metadata.uid} {.metadata.labels.app\.kubernetes\.io/version} {.status.containerStatuses[*].restartCount}{"\n"}{end}'
}

if kubectl get swapp agent -n agent >/dev/null 2>&1; then
  say "Removing the example of an earlier run"
  kubectl delete swapp agent -n agent --timeout=120s || fail "the Application of the earlier run does not go"
fi
kubectl apply -f examples/agent/namespace.yaml

say "Version 1: database, migration, API, smoke test"
: > "$state/stages"
kubectl apply -f examples/agent/v1.yaml
follow ''
[ "$(field '{.status.operationState.phase}')" = Succeeded ] || fail "version 1 did not succeed: $(field '{.status.operationState.message}')"
kubectl wait --for=condition=Ready swapp/agent -n agent --timeout=60s || fail "version 1 has succeeded, but is not Ready"
seen=$(grep -oE '\([0-9]+/' "$state/stages" | tr -d '(/')
[ "$seen" = "$(sort -n <<< "$seen")" ] || fail "the stages were not in order: $seen"
for stage in 'PreSync 0' 'Sync 0' 'Sync 1' 'PostSync 0'; do
  grep -q "^$stage " "$state/stages" || fail "stage $stage was not seen"
done
[ -z "$(kubectl get job agent-migrate agent-notify -n agent --ignore-not-found -o name)" ] \
  || fail "after version 1 there should be no Job agent-migrate (HookSucceeded) and no agent-notify (SyncFail)"
[ "$(kubectl get job agent-smoke-test -n agent -o 'jsonpath={.status.succeeded}')" = 1 ] || fail "the smoke test did not succeed"
before=$(api_now)

say "Version 2: its migration fails"
first=$(field '{.status.operationState.id}')
kubectl apply -f examples/agent/v2.yaml
follow "$first"
[ "$(field '{.status.operationState.phase}')" = Failed ] || fail "version 2 should have failed"
message=$(field '{.status.operationState.message}')
grep -q 'code 3' <<< "$message" || fail "the message has no exit code: $message"
grep -q 'contains null values' <<< "$message" || fail "the message has not the last words of the migration: $message"
after=$(api_now)
[ "$before" = "$after" ] || fail "version 1 was touched; before: $before; after: $after"
[ "$(kubectl get configmap agent-release -n agent -o 'jsonpath={.data.version}')" = 1 ] || fail "agent-release does not say version 1"
runs=$(field '{.status.operationState.syncResult.resources[?(@.syncPhase=="SyncFail")].hookPhase}')
[ "$runs" = Succeeded ] || fail "the SyncFail hook should have run once and succeeded: ${runs:-it did not run}"
[ "$(kubectl get pods -n agent -l job-name=agent-notify -o name | grep -c .)" = 1 ] || fail "agent-notify should have had one pod"

say "As it should be: version 1 keeps running, the SyncFail hook has run once, the status says why"
kubectl get swapp -n agent
echo
field '{range .status.operationState.syncResult.resources[?(@.status=="SyncFailed")]}{.kind}/{.name}: {.message}{"\n"}{.log}{"\n"}{end}'
say "Look around"
if [ "$local_plane" = yes ]; then echo "  export PATH=$binaries:\$PATH"; fi
cat <<END
  export KUBECONFIG=$KUBECONFIG
  kubectl get swapp -n agent -o wide
  kubectl describe swapp agent -n agent
  kubectl get all -n agent
END
if [ "$process" = yes ]; then
  echo "  less $state/operator.log"
else
  echo "  kubectl logs -n swell-system -l app.kubernetes.io/name=swell --tail=-1"
fi
echo "  make demo-down"
