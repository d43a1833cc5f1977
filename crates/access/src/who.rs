//! Who a caller is: a user in a session, or a program with a key.

use std::sync::Arc;

use uuid::Uuid;

use super::action::Action;
use super::role::Role;

/// Who a principal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A person who has logged in.
    User {
        /// The user.
        user_id: Uuid,
        /// What the user may do.
        role: Role,
        /// Since which login.
        session_id: Uuid,
    },
    /// A program.
    Key {
        /// Its key.
        key_id: Uuid,
        /// What the key is for; nothing else.
        actions: Arc<[Action]>,
    },
}
