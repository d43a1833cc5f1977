//! `GraphQL`.
