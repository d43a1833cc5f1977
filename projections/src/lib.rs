//! The read models.
