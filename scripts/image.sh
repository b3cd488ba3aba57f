#!/usr/bin/env bash
# The operator's container image, without a container engine: nothing but a static binary, its licences and its SBOM.
#   image.sh build   builds it into target/image, and prints digest and sizes
#   image.sh again   builds what `build` has built once more from another folder, and compares
#   image.sh run     unpacks what `build` has built and runs it as a pod does: commands, the sandbox, the operator on a local control plane
# The same sources, Rust, C library and buildah give the same bytes, wherever the sources lie. CYCLONEDX is the path of cargo-cyclonedx
# (`make image` installs it). SWELL_REVISION, SWELL_SOURCE and SOURCE_DATE_EPOCH say what Git cannot: commit, address and time.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/image
user=65532:65532 # a number, which `runAsNonRoot` can check; the one that images without a shell usually have

say() { printf '%s\n' "image: $*" >&2; }
die() { say "$*"; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Installs Debian packages, unless these commands are there: `needs COMMAND[=PACKAGE]...`
needs() {
  local entry packages=()
  for entry in "$@"; do
    command -v "${entry%%=*}" >/dev/null || packages+=("${entry##*=}")
  done
  [ ${#packages[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "${packages[*]} is needed; install it and run this again"
  say "installing ${packages[*]}"
  as_root apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive as_root apt-get install -qq --no-install-recommends "${packages[@]}" >/dev/null
}

[ "$(uname -s)" = Linux ] || die "an image is built on Linux"
machine=$(uname -m)
case $machine in
  x86_64) arch=amd64 ;;
  aarch64) arch=arm64 ;;
  *) die "no image for $machine: x86_64 and aarch64 are known" ;;
esac
triple=$machine-unknown-linux-gnu
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || echo unknown)
work=$(mktemp -d "${TMPDIR:-/tmp}/swell-image.XXXXXX")
containers() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }
cleanup() {
  [ -z "${operator:-}" ] || kill "$operator" 2>/dev/null || true
  [ -z "${plane:-}" ] || "$testbed" down --name image >&2 || true
  rm -f "$root"/{,testbed/}.sbom-$$.json
  rm -rf "$work" 2>/dev/null || as_root rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The binary: static, and without the names of the folders in which it was built.
build_binary() {
  local home=${CARGO_HOME:-$HOME/.cargo} flags
  # From 2.34 on the C library finds names (DNS and /etc/hosts) by itself; before, a static program had to load a shared library for that.
  if ! [[ $libc =~ ^glibc\ 2\.([0-9]+)$ ]] || ((BASH_REMATCH[1] < 34)); then die "glibc 2.34 or newer is needed, this is $libc"; fi
  flags=(-Ctarget-feature=+crt-static
    "--remap-path-prefix=$home=/cargo" "--remap-path-prefix=$root=/swell" "--remap-path-prefix=$target=/target")
  # Kernels for aarch64 have pages of 4, 16 or 64 KiB, and jemalloc runs with those up to the size that it was built for.
  if [ "$arch" = arm64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi
  # Separated by a character that no path has.
  CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; printf '%s' "${flags[*]}") CARGO_TARGET_DIR=$target \
    cargo build --release --locked --package swell --bin swell --target "$triple" >&2
  binary=$target/$triple/release/swell
  ! readelf -lW "$binary" | grep -q INTERP || die "$binary is not static"
  local path
  for path in "$home/" "$root/" "$target/"; do
    ! grep -aqF "$path" "$binary" || die "$binary contains the path $path of this machine"
  done
}

# The bill of materials: the crates by cargo-cyclonedx, and what else is linked into the binary.
build_sbom() {
  local rust
  rust=$(rustc -V | cut -d ' ' -f 2)
  "$CYCLONEDX" cyclonedx -qq --manifest-path Cargo.toml --target "$triple" --no-build-deps \
    --format json --spec-version 1.5 --override-filename ".sbom-$$"
  jq --arg libc "${libc#glibc }" --arg rust "$rust" '
    .metadata.component as $swell | "swell@\($swell.version)" as $name # instead of the folder that it lies in
    | walk(if type == "string" and startswith($swell."bom-ref") then $name + ltrimstr($swell."bom-ref") else . end)
    | .components += [
        {type: "library", "bom-ref": "glibc", name: "glibc", version: $libc, scope: "required",
          licenses: [{expression: "LGPL-2.1-or-later"}], purl: "pkg:generic/glibc@\($libc)"},
        {type: "library", "bom-ref": "rust-std", name: "rust-std", version: $rust, scope: "required",
          licenses: [{expression: "MIT OR Apache-2.0"}], purl: "pkg:generic/rust-std@\($rust)"}]
    | (.dependencies[] | select(.ref == $name) | .dependsOn) += ["glibc", "rust-std"]' ".sbom-$$.json" >"$1"
}

# The texts of the licences of all that the bill lists, each text once.
build_licences() {
  local sbom=$1 name folder file sum
  local -A whose=() text=()
  while IFS=$'\t' read -r name folder; do
    while read -r file; do
      sum=$(sha256sum <"$file")
      whose[$sum]+="${whose[$sum]:+, }$name"
      text[$sum]=$file
    done < <(find "$folder" -maxdepth 2 -type f \( -iname 'LICEN[CS]E*' -o -iname 'COPYING*' -o -iname 'NOTICE*' -o -iname 'UNLICENSE*' \
      -o -path '*/doc/rust/licenses/MIT*' -o -path '*/doc/rust/licenses/Apache*' \) | LC_ALL=C sort)
  done < <({
    cargo metadata --locked --offline --format-version 1 --filter-platform "$triple" \
      | jq -r --slurpfile sbom "$sbom" '([$sbom[0].components[] | "\(.name) \(.version)"]) as $in
          | .packages[] | "\(.name) \(.version)" as $name | select($in | index($name)) | [$name, (.manifest_path | rtrimstr("/Cargo.toml"))] | @tsv'
    printf 'rust-std\t%s\n' "$(rustc --print sysroot)/share/doc/rust"
  } | LC_ALL=C sort)
  for file in /usr/share/doc/libc6-dev/copyright /usr/share/common-licenses/LGPL-2.1; do
    [ ! -f "$file" ] || { sum=$(sha256sum <"$file"); whose[$sum]=glibc; text[$sum]=$file; }
  done
  for sum in "${!whose[@]}"; do printf '%s\t%s\n' "${whose[$sum]}" "${text[$sum]}"; done | LC_ALL=C sort | while IFS=$'\t' read -r name file; do
    printf -- '---- %s\n\n' "$name"
    cat "$file"
    printf '\n'
  done
}

build() {
  [ -x "${CYCLONEDX:-}" ] || die "CYCLONEDX should be the path of cargo-cyclonedx; make image installs it"
  needs jq buildah readelf=binutils cc=gcc
  local version revision=${SWELL_REVISION:-} label value tree container
  version=$(cargo metadata --locked --no-deps --format-version 1 | jq -r '.packages[] | select(.name == "swell") | .version')
  if git rev-parse --git-dir >/dev/null 2>&1; then
    [ -n "$revision" ] || revision=$(git rev-parse HEAD)$([ -z "$(git status --porcelain)" ] || echo -modified)
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} # of the commit
  fi
  export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}

  build_binary
  tree=$work/tree
  mkdir -p "$tree/licenses" "$tree/sbom"
  install -m 0555 "$binary" "$tree/swell"
  install -m 0444 LICENSE "$tree/licenses/LICENSE"
  build_sbom "$tree/sbom/swell.cdx.json"
  build_licences "$tree/sbom/swell.cdx.json" >"$tree/licenses/THIRD-PARTY"
  chmod 0444 "$tree/sbom/swell.cdx.json" "$tree/licenses/THIRD-PARTY"
  chmod 0755 "$tree/licenses" "$tree/sbom"

  container=$(containers from scratch)
  containers copy --quiet --chown 0:0 "$container" "$tree" / >/dev/null
  containers config --os linux --arch "$arch" --user "$user" --workingdir / --entrypoint '["/swell"]' --cmd operator \
    --created-by 'scripts/image.sh' --annotation org.opencontainers.image.base.name- --annotation org.opencontainers.image.base.digest- "$container"
  while IFS='|' read -r label value; do
    [ -z "$value" ] || containers config --label "org.opencontainers.image.$label=$value" --annotation "org.opencontainers.image.$label=$value" "$container"
  done <<END
title|Swell
description|Deploys an application in order: phases, waves and hooks by server-side apply
version|$version
revision|$revision
source|${SWELL_SOURCE:-}
licenses|Apache-2.0
END
  # Without the label that names buildah's version: it says nothing about what is inside.
  containers commit --quiet --identity-label=false --timestamp "$SOURCE_DATE_EPOCH" --format oci "$container" "localhost/swell:$version" >/dev/null
  mkdir "$work/layout"
  containers push --quiet --digestfile "$work/digest" "localhost/swell:$version" "oci:$work/layout:localhost/swell:$version"

  rm -rf "$out"
  mkdir -p "$out"
  tar -C "$work/layout" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=ustar \
    -cf "$out/swell-$arch.oci.tar" .
  install -m 0644 "$tree/sbom/swell.cdx.json" "$out/swell-$arch.cdx.json"
  cp "$work/digest" "$out/swell-$arch.digest"
  printf '%s %s\n' "$SOURCE_DATE_EPOCH" "$revision" >"$out/swell-$arch.origin"
  printf 'image    %s\n' "$out/swell-$arch.oci.tar"
  printf 'SBOM     %s, %s components\n' "$out/swell-$arch.cdx.json" "$(jq '.components | length' "$tree/sbom/swell.cdx.json")"
  printf 'binary   %s\n' "$(sha256sum <"$binary" | cut -c 1-64)"
  printf 'digest   %s\n' "$(cat "$work/digest")"
  printf 'size     %s bytes as an archive, %s unpacked, %s of them the binary\n' \
    "$(stat -c %s "$out/swell-$arch.oci.tar")" "$(find "$tree" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')" "$(stat -c %s "$binary")"
}

# From a copy of the sources in a folder of another name and depth, without anything that the first build has left.
again() {
  local copy=$work/another/folder epoch revision file
  [ -f "$out/swell-$arch.digest" ] || die "there is no image in $out; run image.sh build first"
  read -r epoch revision <"$out/swell-$arch.origin"
  mkdir -p "$copy"
  git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- | tar -x -C "$copy"
  say "building once more, in $copy"
  env -u CARGO_TARGET_DIR SWELL_REVISION="$revision" SOURCE_DATE_EPOCH="$epoch" \
    "$copy/scripts/image.sh" build >"$work/report" || die "the second build has failed"
  for file in "$out"/*; do
    cmp "$file" "$copy/target/image/${file##*/}" || die "two builds of the same differ; the second: $(cat "$work/report")"
  done
  printf 'again    %s, built in another folder: the same\n' "$(cat "$out/swell-$arch.digest")"
}

# Runs the unpacked image as a pod does: in its root alone, which is read-only, as its user, without capabilities. What a container's
# runtime brings is brought: /proc, /dev/null, /etc/hosts, and the service account's volume. The API server is found by a name, which is more than pods need.
run() {
  needs jq buildah unshare=util-linux setpriv=util-linux
  local archive=$out/swell-$arch.oci.tar volume=$work/volume unpacked entry binaries server account inside
  [ -f "$archive" ] || die "there is no $archive; run image.sh build first"
  unpack() { as_root buildah --root "$work/unpacked" --runroot "$work/unpacked-run" --storage-driver vfs "$@"; }
  unpack from --quiet --name image "oci-archive:$archive" >/dev/null
  unpacked=$(unpack mount image)
  entry=$(unpack inspect image | jq -r '.OCIv1.config | [.User, .Entrypoint[], .Cmd[]] | join(" ")')
  [ "$entry" = "$user /swell operator" ] || die "the image should start /swell operator as $user, and has: $entry"
  account=$unpacked/var/run/secrets/kubernetes.io/serviceaccount
  as_root mkdir -p "$unpacked/proc" "$unpacked/dev" "$unpacked/etc" "$account"
  as_root touch "$unpacked/dev/null"
  echo 127.0.0.1 kubernetes.default | as_root tee "$unpacked/etc/hosts" >/dev/null
  mkdir "$volume"
  # shellcheck disable=SC2016 # the inner shell expands them
  inside=(unshare --mount --propagation private bash -euc '
    root=$1 volume=$2 account=$3 user=$4
    shift 4
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount -t proc proc "$root/proc"
    mount --bind /dev/null "$root/dev/null"
    mount --bind "$volume" "$account"
    exec setpriv --no-new-privs unshare --root="$root" --wd=/ --setgid="${user#*:}" --setuid="${user%:*}" -- "$@"'
    - "$unpacked" "$volume" "$account" "$user")
  [ "$(id -u)" = 0 ] || inside=(sudo "${inside[@]}")

  "${inside[@]}" /swell --version
  "${inside[@]}" /swell crd | cmp - crds/application.yaml || die "swell crd of the image is not crds/application.yaml"
  # The sandbox: the program starts itself once more, in a root where nothing else is.
  printf '{"apiVersion": "example.com/v1", "kind": "Database", "metadata": {"name": "orders", "namespace": "shop"}, "status": {"phase": "Ready"}}' >"$volume/object.yaml"
  printf '{"healthChecks": [{"apiVersion": "example.com/v1", "kind": "Database", "current": "status.phase == '"'Ready'"'"}]}' >"$volume/checks.yaml"
  "${inside[@]}" /swell health -f "${account#"$unpacked"}/object.yaml" --checks "${account#"$unpacked"}/checks.yaml"
  rm "$volume"/*

  binaries=$(scripts/controlplane.sh)
  PATH=$binaries:$PATH
  cargo build --quiet --locked --package testbed
  testbed=$target/debug/testbed
  plane=yes
  KUBECONFIG=$("$testbed" up --name image | tail -n 1)
  export KUBECONFIG
  kubectl apply --server-side -f crds/application.yaml -f deploy/operator.yaml >&2
  kubectl wait --for=condition=Established crd/applications.swell.dev --timeout=60s >&2
  kubectl create token swell --namespace swell-system --duration 1h >"$volume/token"
  kubectl config view --raw --minify --flatten -o 'jsonpath={.clusters[0].cluster.certificate-authority-data}' | base64 -d >"$volume/ca.crt"
  printf swell-system >"$volume/namespace"
  server=$(kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
  set -- env -i KUBERNETES_SERVICE_HOST=kubernetes.default "KUBERNETES_SERVICE_PORT=${server##*:}" NO_COLOR=1 PATH="$PATH"
  [ "${inside[0]}" != sudo ] || { set -- sudo "$@"; inside=("${inside[@]:1}"); }
  "$@" "${inside[@]}" /swell operator >"$work/log" 2>&1 &
  operator=$!
  kubectl create namespace image >&2
  kubectl create rolebinding edit --namespace image --clusterrole edit --serviceaccount image:default >&2
  kubectl apply -f - >&2 <<'END'
apiVersion: swell.dev/v1alpha1
kind: Application
metadata: {name: image, namespace: image}
spec:
  source:
    inline: |
      apiVersion: v1
      kind: ConfigMap
      metadata: {name: judged}
      data: {ready: "yes"}
  healthChecks:
    - {apiVersion: v1, kind: ConfigMap, current: data.ready == 'yes'}
END
  kubectl wait --for=condition=Ready swapp/image --namespace image --timeout=60s >&2 || die "no Application becomes Ready; the operator's log: $(cat "$work/log")"
  head -n 1 "$work/log"
  kill "$operator"
  wait "$operator" || die "the operator should end with 0 when it is asked to stop; its log: $(cat "$work/log")"
  operator=
  printf 'run      version, crd, health with a CEL check, and the operator of the image with an Application that became Ready\n'
}

case ${1:-} in
  build | again | run) "$1" ;;
  *) die "say image.sh build, again or run" ;;
esac
