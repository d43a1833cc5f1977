//! The `Device` aggregate.
