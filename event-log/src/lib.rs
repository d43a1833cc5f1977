//! The log on Postgres.
