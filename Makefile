# Everything a person or CI runs. Each target installs what it needs into the user's cache directory.
SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/swell
DENY_VERSION := 0.20.2
DENY := $(CACHE)/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny

.PHONY: help demo demo-down test test-full check fmt generate controlplane cluster

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

demo: ## The example on a real control plane, wave by wave
	@scripts/demo.sh

demo-down: ## Stop what the demo left running
	@scripts/demo.sh down

test: controlplane ## All tests, on the real control plane too
	cargo build --workspace --locked
	cargo test --workspace --locked

test-full: controlplane ## The same with many more property cases
	cargo build --workspace --locked
	PROPTEST_CASES=20000 cargo test --workspace --locked

check: $(DENY) ## Format, lints, docs, dependencies, generated files
	cargo fmt --all -- --check
	bash -n scripts/*.sh .ci/run
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	$(DENY) --locked --offline check bans licenses sources
	cargo run --quiet --locked -- crd | diff -u crds/application.yaml - || { echo 'crds/application.yaml is not what the code says: run make generate'; exit 1; }

fmt: ## Format everything
	cargo fmt --all

generate: ## Write the generated files
	cargo run --quiet --locked -- crd > crds/application.yaml.new && mv crds/application.yaml.new crds/application.yaml

controlplane: ## Build etcd, kube-apiserver and the rest once into the cache; prints the folder
	@scripts/controlplane.sh

cluster: controlplane ## A control plane in the foreground; prints the kubeconfig's path
	@cargo run --quiet --locked -p testbed -- serve

$(DENY):
	cargo install --locked --root $(CACHE)/tools/cargo-deny-$(DENY_VERSION) --version $(DENY_VERSION) cargo-deny
