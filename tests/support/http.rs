//! A small HTTP/1.1 server, for tests that stand in for somebody else's: requests one after the other on a connection.

use std::fmt::Write as _;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(crate) struct Request {
    pub(crate) method: String,
    /// The path, and the query behind a question mark.
    pub(crate) target: String,
    /// The names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// Answers requests until the connection ends, or there is no answer.
pub(crate) async fn converse<F: Future<Output = Option<Answer>> + Send>(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(Request) -> F,
) -> Option<()> {
    let mut bytes = vec![];
    loop {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
        };
        let text = String::from_utf8(bytes[..head].to_vec()).expect("a head");
        let mut lines = text.lines();
        let mut words = lines.next()?.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let header = |line: &str| {
            line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        };
        let mut request =
            Request { method, target, headers: lines.filter_map(header).collect(), body: vec![] };
        let length: usize =
            request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        while bytes.len() < head + length {
            (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
        }
        request.body = bytes[head..head + length].to_vec();
        bytes.drain(..head + length);
        let has_body = request.method != "HEAD";
        let Answer { status, headers, body } = answer(request).await?;
        let mut head = format!("HTTP/1.1 {status} x\r\n");
        if !headers.iter().any(|(name, _)| *name == "content-length") {
            let _ = write!(head, "content-length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let body = if has_body { &body[..] } else { &[] };
        stream.write_all(&[format!("{head}\r\n").as_bytes(), body].concat()).await.ok()?;
    }
}
