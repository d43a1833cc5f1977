//! What a door says in the `OpenAPI` document: an operation's `x-action` is the action of its handler's first argument.

use fleetlog_access::Action;
use fleetlog_access::action::ActionType;
use serde_json::json;
use utoipa_axum::router::UtoipaMethodRouter;

use super::{Knock, May, Target};
use crate::app::App;

/// The extension that marks an operation as needing a login, and names its action.
pub const ACTION: &str = "x-action";

/// A handler's argument that decides whether the request reaches the handler.
pub trait Door {
    /// The action that the handler performs.
    const ACTION: Action;
}

impl<A: ActionType, T: Target> Door for May<A, T> {
    const ACTION: Action = A::ACTION;
}

impl<A: ActionType, T: Target> Door for Knock<A, T> {
    const ACTION: Action = A::ACTION;
}

/// A handler whose first argument is a door. `Arguments` is the tuple of all its arguments.
pub trait Behind<Arguments> {
    /// The action that the handler performs.
    const ACTION: Action;
}

macro_rules! behind {
    ($([$($argument:ident)*])*) => {$(
        impl<F, D: Door, $($argument,)* Answer> Behind<(D, $($argument,)*)> for F
        where
            F: Fn(D, $($argument,)*) -> Answer,
        {
            const ACTION: Action = D::ACTION;
        }
    )*};
}

behind! { [] [A1] [A1 A2] [A1 A2 A3] [A1 A2 A3 A4] }

/// Adds the handler's action to the `OpenAPI` description of its route.
pub fn described<Arguments, H: Behind<Arguments>>(
    (schemas, mut paths, methods): UtoipaMethodRouter<App>,
    _: H,
) -> UtoipaMethodRouter<App> {
    for item in paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let extensions = operation.extensions.get_or_insert_default();
            extensions.insert(ACTION.to_owned(), json!(H::ACTION.as_str()));
        }
    }
    (schemas, paths, methods)
}

/// Builds the routes of handlers that are behind doors. A handler without a door does not compile here.
macro_rules! guarded {
    ($($handler:ident),+ $(,)?) => {
        utoipa_axum::router::OpenApiRouter::default()
            $(.routes($crate::door::action::described(utoipa_axum::routes!($handler), $handler)))+
    };
}
pub(crate) use guarded;
