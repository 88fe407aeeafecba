# What can be done here; `make help` lists it.

.DEFAULT_GOAL := help
.PHONY: help run test lint doc bench bench-peers soak fuzz broker-start broker-stop clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: ## Build and run a node ready to take events, with a RabbitMQ of its own
	scripts/run

test: ## Install what the tests need, then run them all
	scripts/test

lint: ## Formatting, clippy, and the documentation, without a warning
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

doc: ## Build the documentation of the code
	cargo doc --workspace --no-deps

bench: ## Micro-benchmarks
	cargo bench --bench micro

bench-peers: ## Forebay, nginx and an axum service side by side: CPU per request
	scripts/bench-peers

soak: ## Memory under load below and above the limit, minutes long
	scripts/soak

fuzz: ## Fuzz each door for FUZZ_SECONDS (60)
	scripts/fuzz

broker-start: ## Start the throw-away RabbitMQ
	scripts/broker start

broker-stop: ## Stop it
	scripts/broker stop

clean: ## Remove everything that was built or kept
	for name in main outage tls bench; do scripts/broker remove $$name; done
	cargo clean
	rm -rf .broker forebay-data benches/peers/axum/target fuzz/target
