#!/usr/bin/env bash
# The chart and what is rendered from it. `chart.sh generate` writes the generated files, `chart.sh check` compares them and lints the chart with
# every set of values in deploy/chart/ci. Helm is the one of the local control plane (scripts/controlplane.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
chart=deploy/chart
helm=$(scripts/controlplane.sh)/helm
die() { printf 'chart: %s\n' "$*" >&2; exit 1; }

# The chart as the release swell in the namespace swell-system, without the labels that say Helm installed it; the namespace goes before it.
render() {
  echo '# Generated from deploy/chart by make generate. Do not edit.'
  echo "# $1"
  cat <<'END'
apiVersion: v1
kind: Namespace
metadata:
  name: swell-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
END
  shift
  # Not by the version that this helm takes a server to have.
  "$helm" template swell "$chart" --namespace swell-system --set rbac.impersonation=constrained "$@" \
    | sed -e '/^ *helm\.sh\/chart: /d' -e '/^ *app\.kubernetes\.io\/managed-by: Helm$/d' -e 's/[[:space:]]*$//' | cat -s
}

install() { render 'Swell for clusters of Kubernetes 1.36 and later: kubectl apply --server-side -f install.yaml'; }
# For an operator that does not run as a pod: as in `make demo` and in the tests.
rights() {
  render "The operator's account and its rights, for an operator that runs outside of the cluster." \
    --show-only templates/serviceaccount.yaml --show-only templates/rbac.yaml
}

case "${1:-}" in
generate)
  cp crds/application.yaml "$chart/files/application.yaml"
  install > deploy/install.yaml.new && mv deploy/install.yaml.new deploy/install.yaml
  rights > deploy/operator.yaml.new && mv deploy/operator.yaml.new deploy/operator.yaml
  ;;
check)
  stale() { die "$1 is not what the chart says: run make generate"; }
  cmp crds/application.yaml "$chart/files/application.yaml" || stale "$chart/files/application.yaml"
  install | diff -u deploy/install.yaml - || stale deploy/install.yaml
  rights | diff -u deploy/operator.yaml - || stale deploy/operator.yaml
  version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
  for field in version appVersion; do
    grep -qx "$field: $version" "$chart/Chart.yaml" || die "$chart/Chart.yaml: $field is not the program's, $version"
  done
  "$helm" lint --strict --quiet "$chart"
  for values in "$chart"/ci/*.yaml; do
    "$helm" lint --strict --quiet --values "$values" "$chart"
    "$helm" template swell "$chart" --namespace swell-system --values "$values" > /dev/null
  done
  # What the schema must refuse.
  refuse() {
    ! "$helm" template swell "$chart" --set "$1" > /dev/null 2>&1 || die "values.schema.json should refuse $1"
  }
  refuse replica=2
  refuse log.format=xml
  refuse rbac.impersonation=yes
  refuse ownRights=true,forceAccount=writer
  refuse kinds[0]=secrets
  refuse http.port=80
  ;;
*) die "usage: chart.sh generate|check" ;;
esac
