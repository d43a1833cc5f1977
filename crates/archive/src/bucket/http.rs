//! Requests of the object store over fleetlog's own HTTP client: one TLS for all, and a bound on each answer.

use std::time::Duration;

use bytes::Bytes;
use fleetlog_http_client::url::is_near;
use fleetlog_http_client::{Client, Limits};
use futures::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};

/// What an answer may take: a part of an object, at more than 100 KB/s.
const LIMITS: Limits = Limits { time: Duration::from_secs(80), bytes: 16 << 20 };

/// Makes clients.
#[derive(Debug)]
pub(super) struct Connector;

/// A client.
struct Service(Client);

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

/// Why a request is not sent.
#[derive(Debug, thiserror::Error)]
#[error("an object store is asked over https://; http:// is for this machine only")]
struct Plain;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let failed = |source| object_store::Error::Generic { store: "S3", source: Box::new(source) };
        Ok(HttpClient::new(Service(Client::new().map_err(failed)?)))
    }
}

impl HttpService for Service {
    fn call<'s, 'c>(&'s self, request: HttpRequest) -> BoxFuture<'c, Result<HttpResponse, HttpError>>
    where
        's: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            // The machine's own keys come from an address that only it can reach.
            if request.uri().scheme_str() != Some("https") && !request.uri().host().is_some_and(is_near) {
                return Err(HttpError::new(HttpErrorKind::Unknown, Plain));
            }
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let answer = self.0.ask(Request::from_parts(head, body), LIMITS).await.map_err(failure)?;
            let (head, body): (_, Bytes) = answer.into_parts();
            Ok(HttpResponse::from_parts(head, body.into()))
        })
    }
}

fn failure(error: fleetlog_http_client::Error) -> HttpError {
    use fleetlog_http_client::Error;
    let kind = match error {
        Error::Unreachable(_) | Error::NotPublic(_) => HttpErrorKind::Connect,
        Error::Lost(_) => HttpErrorKind::Interrupted,
        Error::TooSlow(_) => HttpErrorKind::Timeout,
        Error::TooLarge(_) | Error::Tls(_) => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
