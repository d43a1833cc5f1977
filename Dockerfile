# syntax=docker/dockerfile:1

# The crates are fetched by the lock file in a layer of their own; the build itself needs no network.
FROM rust:1.95.0-bookworm AS crates
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY aggregates/Cargo.toml aggregates/Cargo.toml
COPY event-log/Cargo.toml event-log/build.rs event-log/
COPY projections/Cargo.toml projections/Cargo.toml
COPY crates/access/Cargo.toml crates/access/Cargo.toml
COPY crates/api/Cargo.toml crates/api/Cargo.toml
COPY crates/archive/Cargo.toml crates/archive/Cargo.toml
COPY crates/dashboard/Cargo.toml crates/dashboard/Cargo.toml
COPY crates/embedded/Cargo.toml crates/embedded/Cargo.toml
COPY crates/engine/Cargo.toml crates/engine/Cargo.toml
COPY crates/http-client/Cargo.toml crates/http-client/Cargo.toml
COPY crates/lab/Cargo.toml crates/lab/Cargo.toml
COPY crates/live/Cargo.toml crates/live/Cargo.toml
COPY crates/mqtt/Cargo.toml crates/mqtt/Cargo.toml
COPY crates/proof/Cargo.toml crates/proof/Cargo.toml
COPY crates/sources/Cargo.toml crates/sources/Cargo.toml
COPY crates/tls/Cargo.toml crates/tls/Cargo.toml
COPY crates/webhooks/Cargo.toml crates/webhooks/Cargo.toml
RUN for crate in . aggregates event-log projections crates/*; do mkdir -p "$crate/src" && touch "$crate/src/lib.rs"; done \
    && mkdir tests && touch tests/main.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo fetch --locked

FROM crates AS build
COPY . .
# Sources that carry the time of their commit are older than the stand-ins above.
RUN find . -name '*.rs' -exec touch {} + && cargo build --release --locked --offline --bin fleetlog

FROM debian:bookworm-slim
# The release's own security updates are wanted, whichever version they have.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends -y ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin fleetlog \
    && install --directory --owner=fleetlog --mode=0700 /var/lib/fleetlog
COPY --from=build /src/target/release/fleetlog /usr/local/bin/fleetlog
USER 10001
# A container's own network is not loopback. What publishes its port to others has to speak TLS for it.
ENV FLEETLOG_HTTP_ADDR=0.0.0.0:8080 FLEETLOG_ALLOW_PLAIN=true FLEETLOG_LOG_FORMAT=json FLEETLOG_OUTBOX_DIR=/var/lib/fleetlog/outbox
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["curl", "-fsS", "http://127.0.0.1:8080/healthz"]
ENTRYPOINT ["/usr/local/bin/fleetlog"]
CMD ["serve"]
