# Everything a person or CI runs. Each target installs what it needs into the user's cache directory.
SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/swell
DENY_VERSION := 0.20.2
DENY := $(CACHE)/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
CYCLONEDX_VERSION := 0.5.9
export CYCLONEDX := $(CACHE)/tools/cargo-cyclonedx-$(CYCLONEDX_VERSION)/bin/cargo-cyclonedx
ACTIONLINT_VERSION := 1.7.12
ACTIONLINT := $(CACHE)/tools/actionlint-$(ACTIONLINT_VERSION)/actionlint

# All tests; then the operator's role against what it has asked for in all of them, by the audit logs of their API servers.
AUDIT := $(CURDIR)/target/audit
define whole_run
	rm -rf $(AUDIT)
	SWELL_TESTBED_AUDIT=$(AUDIT) $(1) cargo test --workspace --locked --no-fail-fast
	@# A cluster that was there before (SWELL_TESTBED) has its log elsewhere, with what others asked for.
	if [ -z "$$SWELL_TESTBED" ]; then set -o pipefail; SWELL_TESTBED_AUDIT=$(AUDIT) cargo test --quiet --locked --test cluster \
	  -- --ignored --nocapture over_a_whole_run | tee >(cat >&2) | grep '1 passed' > /dev/null; fi
	rm -rf $(AUDIT)
endef

# Tests on the control plane wait more than they compute: more of them at a time than there are cores.
export RUST_TEST_THREADS ?= 6

.PHONY: help demo demo-down test test-full check deny fmt generate controlplane cluster image image-run image-check

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

demo: ## The example on a real control plane, wave by wave
	@scripts/demo.sh

demo-down: ## Stop what the demo left running
	@scripts/demo.sh down

test: controlplane ## All tests, on the real control plane too
	cargo build --workspace --locked
	$(call whole_run,)

test-full: controlplane ## The same with many more property cases and simulated syncs, and a real one hit at every call
	cargo build --workspace --locked
	$(call whole_run,PROPTEST_CASES=20000 SWELL_SIM_SEEDS=20000 SWELL_FIRE=all)

check: $(ACTIONLINT) ## Format, scripts, workflows, lints, layout, docs, dependencies, generated files; what is quick comes first
	cargo fmt --all -- --check
	@for script in scripts/*.sh .ci/run; do bash -n "$$script" || exit 1; done
	@if command -v shellcheck >/dev/null; then echo 'shellcheck scripts/*.sh .ci/run'; shellcheck scripts/*.sh .ci/run; \
	else echo 'shellcheck is not installed: the scripts are only parsed (bash -n)'; fi
	$(ACTIONLINT) .github/workflows/*.yaml
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --quiet --locked --test it -- architecture:: docs:: metrics::
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	cargo run --quiet --locked -- crd | diff -u crds/application.yaml - || { echo 'crds/application.yaml is not what the code says: run make generate'; exit 1; }
	@$(MAKE) --no-print-directory deny
	@echo 'scripts/chart.sh check'; scripts/chart.sh check

deny: $(DENY) ## Dependencies: what is banned, licences, where they come from, known advisories
	$(DENY) --locked check bans licenses sources
	@# The database of advisories is a Git repository, which not every machine may reach.
	@if timeout 60 $(DENY) --locked fetch db >/dev/null 2>&1; then echo '$(DENY) check advisories'; $(DENY) --locked check --disable-fetch advisories; \
	else echo 'advisories: NOT CHECKED, the RustSec database cannot be fetched from here'; fi

image: $(CYCLONEDX) ## The operator's container image into target/image, with its SBOM
	@scripts/image.sh build

image-run: ## What is in that image, run as a pod does, the operator on the local control plane
	@scripts/image.sh run

image-check: image ## The image built twice from two folders, compared, and run
	@scripts/image.sh again
	@scripts/image.sh run

fmt: ## Format everything
	cargo fmt --all

generate: ## Write the generated files
	cargo run --quiet --locked -- crd > crds/application.yaml.new && mv crds/application.yaml.new crds/application.yaml
	SWELL_UPDATE_GOLDEN=1 cargo test --quiet --locked --test it docs
	scripts/chart.sh generate

controlplane: ## Build etcd, kube-apiserver and the rest once into the cache; prints the folder
	@scripts/controlplane.sh

cluster: controlplane ## A control plane in the foreground; prints the kubeconfig's path
	@cargo run --quiet --locked -p testbed -- serve

# Without the link-time optimisation of their release profiles, which costs more than a run of a second can give back.
cargo_install = CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
  cargo install --locked --root $(CACHE)/tools/$(1)-$(2) --version $(2) $(1)

$(DENY):
	$(call cargo_install,cargo-deny,$(DENY_VERSION))

$(CYCLONEDX):
	$(call cargo_install,cargo-cyclonedx,$(CYCLONEDX_VERSION))

$(ACTIONLINT):
	GOBIN=$(@D) GOTOOLCHAIN=local "$$(scripts/go.sh)" install github.com/rhysd/actionlint/cmd/actionlint@v$(ACTIONLINT_VERSION)
