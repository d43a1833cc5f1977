//! Requests over HTTP, one after the other on one connection.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use uuid::Uuid;

pub(super) struct Client {
    requests: SendRequest<Full<Bytes>>,
    host: String,
    token: String,
}

impl Client {
    /// Connects without logging in.
    pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { requests, host: address.to_string(), token: String::new() })
    }

    /// Connects, and logs in as the administrator.
    pub(super) async fn log_in(address: SocketAddr, password: &str) -> anyhow::Result<Self> {
        let mut client = Self::connect(address).await?;
        let login = json!({ "email": "admin@localhost", "password": password });
        let (status, answer) = client.post("/auth/login", &login).await?;
        ensure!(status == StatusCode::OK, "log in: {status} {answer}");
        answer["access_token"].as_str().context("a token")?.clone_into(&mut client.token);
        Ok(client)
    }

    /// Opens another connection to the same server with the same login.
    pub(super) async fn another(&self) -> anyhow::Result<Self> {
        Ok(Self { token: self.token.clone(), ..Self::connect(self.host.parse()?).await? })
    }

    /// Requests a `ping` and returns the command's id.
    pub(super) async fn ping(&mut self, uid: &str) -> anyhow::Result<Uuid> {
        let path = format!("/devices/{uid}/commands");
        let (status, answer) = self.post(&path, &json!({ "cmd": "ping" })).await?;
        ensure!(status == StatusCode::ACCEPTED, "request a command: {status} {answer}");
        Ok(answer["cmd_id"].as_str().context("an id")?.parse()?)
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<(StatusCode, Value)> {
        self.send(Method::GET, path, String::new()).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<(StatusCode, Value)> {
        self.send(Method::POST, path, body.to_string()).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let (status, body) = self.answer(method, path, body).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// Sends a request, and returns the status and the body as bytes.
    pub(super) async fn answer(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let answer = self.request(method, path, body).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    /// Sends a request, reads the body to its end and returns its length in bytes only.
    pub(super) async fn length(&mut self, method: Method, path: &str, body: String) -> anyhow::Result<usize> {
        let mut answer = self.request(method, path, body).await?;
        ensure!(answer.status() == StatusCode::OK, "{path}: {}", answer.status());
        let mut length = 0;
        while let Some(frame) = answer.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }

    pub(super) async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if !self.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        }
        self.requests.ready().await?;
        Ok(self.requests.send_request(request.body(Full::from(body))?).await?)
    }
}
