# `make run` starts the whole system; `make test` passes its tests. Both install what is missing first.

CARGO ?= cargo
FLEETLOG = target/release/fleetlog
BENCHES ?= ingest append projections rebuild query commands connections

.PHONY: help run build test bench lint fmt docs audit

help:
	@echo "make run     start everything: Postgres, MQTT, the service, this machine as a device, five simulated ones"
	@echo "make test    all tests, against a Postgres and a Mosquitto that they start themselves"
	@echo "make bench   each benchmark, beside the machine's own ceiling; BENCHES=ingest for one of them"
	@echo "make lint    formatting, clippy, documentation, licences and bans"

run: build
	@exec $(FLEETLOG) up --agent --devices 5 $(ARGS)

build:
	@scripts/install-tools run
	$(CARGO) build --release --locked --bin fleetlog

test:
	@scripts/install-tools test
	$(CARGO) test --workspace --locked

bench: build
	@scripts/install-tools test
	for bench in $(BENCHES); do $(FLEETLOG) bench $$bench $(ARGS) || exit 1; done

lint: fmt docs audit
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

fmt:
	$(CARGO) fmt --all --check

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked

audit:
	@scripts/audit
