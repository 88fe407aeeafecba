# What can be done here; `make help` lists it.

.DEFAULT_GOAL := help
.PHONY: help run run-broker test test-balancer test-systemd test-container deploy-check configuration lint doc bench instructions bench-reactor bench-peers bench-levels bench-latency bench-forward bench-agreement bench-tls bench-capacity loadtest soak simulate chaos mutants fuzz broker-start broker-stop clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: ## Build and run a node ready to take events; they stay in its journal
	scripts/run

run-broker: ## The same, forwarding to a throw-away RabbitMQ
	scripts/run --broker

test: ## Install what the tests need, then run them all
	scripts/test

test-balancer: ## HAProxy ahead of two nodes that are restarted under load
	command -v haproxy > /dev/null || scripts/install haproxy
	cargo test --workspace --locked --test end_to_end -- balancers::

test-systemd: ## The units of deploy/systemd under a real systemd, in a container of its own
	scripts/test-systemd

test-container: ## The image of deploy/container: built as its file says, run without privileges under its seccomp profile
	scripts/test-container

deploy-check: ## Lint all of deploy/: alerts, dashboard, balancer, units, container, Kubernetes, CloudFormation, cloud-init
	scripts/deploy-check

configuration: ## Write docs/configuration.md anew, from the flags
	WRITE_CONFIGURATION=1 cargo test --locked --test configuration

lint: ## Formatting, clippy, and the documentation, without a warning
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

doc: ## Build the documentation of the code
	cargo doc --workspace --no-deps

bench: ## Micro-benchmarks
	cargo bench --bench micro

instructions: ## Count the instructions of each piece: 3 % more or less than accepted fail
	scripts/instructions

bench-reactor: ## A whole reactor beside a bare io_uring responder: CPU per request, socket to 202
	scripts/bench-reactor

bench-peers: ## Forebay beside nginx and services on hyper, axum, fastify and FastAPI: CPU per request, latency, memory
	scripts/bench-peers

bench-levels: ## The four levels of the 202 side by side: CPU per request, latency at half load
	BENCH=levels scripts/bench-peers

bench-latency: ## The tail of the 202 beside nginx's at the same rate, and a step from 5 to 90 % of the limit
	scripts/bench-latency

bench-forward: ## The forwarder, journal included, beside a bare publisher of the same messages
	scripts/bench-forward

bench-agreement: ## The load tester beside oha: do they say the same?
	scripts/bench-agreement

bench-tls: ## What TLS costs: an event beside one in plain, a handshake beside nginx's
	scripts/bench-tls

bench-capacity: ## What a node says of its capacity, beside the limit that the load tester finds, at three sizes
	scripts/bench-capacity

loadtest: ## A standard load on a node of its own; leaves target/loadtest/report.html
	scripts/loadtest

soak: ## Memory under load below and above the limit, minutes long
	scripts/soak

simulate: ## Lives that end at any step, for SEEDS seeds (100000) of each kind
	SIMULATION_SEEDS=$${SEEDS:-100000} cargo test --test simulation --locked -- crashes

mutants: ## Take the guards of the journal out one by one: the simulation has to notice each time
	scripts/mutants

chaos: ## Break a node, its broker and its disk under load for CHAOS_MINUTES (5); CHAOS_SEED runs it again
	scripts/chaos

fuzz: ## Fuzz each door for FUZZ_SECONDS (60)
	scripts/fuzz

broker-start: ## Start the throw-away RabbitMQ
	scripts/broker start

broker-stop: ## Stop it
	scripts/broker stop

clean: ## Remove everything that was built or kept
	for name in main outage tls bench chaos; do scripts/broker remove $$name; done
	cargo clean
	rm -rf .broker forebay-data fuzz/target
