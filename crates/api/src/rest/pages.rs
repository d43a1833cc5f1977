//! The addresses of the web page for people. What is at them comes from a function that `src` gives: this crate knows no page.
//!
//! They count towards no limit of requests: what they answer is in memory, the same for everybody, and compressed already.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use http::request::Parts;

use super::cookies;
use crate::app::App;

/// Answers a request for a page or its files. The second argument says whether the request comes with a session's cookie.
pub type Pages = fn(&Parts, bool) -> Response<&'static [u8]>;

/// Where the page's files are.
pub(super) const FILES: &str = "/public/{*file}";
/// The addresses of pages.
const PATHS: [&str; 7] = ["/", "/favicon.ico", "/login.html", "/app", "/app/", "/app/{*page}", FILES];

pub(super) fn router(pages: Pages, app: &App) -> Router {
    PATHS.into_iter().fold(Router::new(), |router, path| {
        let app = app.clone();
        let answer = move |request: Request| async move {
            let (request, _) = request.into_parts();
            let in_session = cookies::token(&request.headers, &app.access.settings).is_some();
            pages(&request, in_session).map(Body::from)
        };
        router.route(path, get(answer))
    })
}
