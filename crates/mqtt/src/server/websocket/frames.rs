//! The frames that a client sends (RFC 6455, 5), read as they arrive and without I/O: a frame is never held, so it needs no share
//! of a budget, whatever its size.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use crate::server::limits::FRAME;

/// The longest header, in bytes.
const HEADER: usize = 14;
/// The longest payload of a frame that is not data, in bytes.
const CONTROL: u64 = 125;

/// What has been read of a client's frames.
#[derive(Default)]
pub(super) struct Frames {
    /// The header that is arriving.
    header: [u8; HEADER],
    arrived: usize,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// Whether a message has begun whose last frame has not.
    is_within_message: bool,
}

struct Frame {
    kind: Kind,
    is_last: bool,
    mask: [u8; 4],
    /// How many bytes of the payload have arrived.
    done: u64,
    length: u64,
}

enum Kind {
    /// MQTT.
    Data,
    Ping(Vec<u8>),
    Pong,
    Close(Vec<u8>),
}

/// What frames say besides MQTT.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asides {
    /// The last ping, which is to be answered. RFC 6455 (5.5.3) asks for no more.
    pub(super) ping: Option<Vec<u8>>,
    /// The conversation ends, and the client is told this code.
    pub(super) end: Option<CloseCode>,
}

impl Frames {
    /// Moves what the bytes have of MQTT to their front, and returns how long that is. Nothing is read beyond the end.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> (usize, Asides) {
        let (mut read, mut kept, mut asides) = (0, 0, Asides::default());
        while read < bytes.len() && asides.end.is_none() {
            let Some(frame) = &mut self.frame else {
                self.header[self.arrived] = bytes[read];
                (self.arrived, read) = (self.arrived + 1, read + 1);
                self.frame = match self.begin() {
                    Ok(frame) => frame,
                    Err(code) => {
                        asides.end = Some(code);
                        None
                    }
                };
                self.finish(&mut asides);
                continue;
            };
            let length =
                (bytes.len() - read).min(usize::try_from(frame.length - frame.done).unwrap_or(usize::MAX));
            let payload = &mut bytes[read..read + length];
            frame.unmask(payload);
            match &mut frame.kind {
                Kind::Data => {
                    bytes.copy_within(read..read + length, kept);
                    kept += length;
                }
                Kind::Ping(said) | Kind::Close(said) => said.extend_from_slice(payload),
                Kind::Pong => {}
            }
            read += length;
            self.finish(&mut asides);
        }
        (kept, asides)
    }

    /// The frame that begins, once its header is whole; or what the client has done wrong.
    fn begin(&mut self) -> Result<Option<Frame>, CloseCode> {
        let header = &self.header[..self.arrived];
        let Some((header, length)) =
            FrameHeader::parse(&mut Cursor::new(header)).map_err(|_| CloseCode::Protocol)?
        else {
            return Ok(None);
        };
        self.arrived = 0;
        // A client masks what it sends, and no extension was agreed on.
        let Some(mask) = header.mask.filter(|_| !(header.rsv1 || header.rsv2 || header.rsv3)) else {
            return Err(CloseCode::Protocol);
        };
        let kind = match header.opcode {
            OpCode::Control(_) if !header.is_final || length > CONTROL => return Err(CloseCode::Protocol),
            OpCode::Control(Control::Ping) => Kind::Ping(Vec::new()),
            OpCode::Control(Control::Pong) => Kind::Pong,
            OpCode::Control(Control::Close) => Kind::Close(Vec::new()),
            // MQTT is sent in binary frames (MQTT-6.0.0-1).
            OpCode::Data(Data::Text) => return Err(CloseCode::Unsupported),
            OpCode::Data(Data::Binary) if !self.is_within_message => Kind::Data,
            OpCode::Data(Data::Continue) if self.is_within_message => Kind::Data,
            OpCode::Data(_) | OpCode::Control(Control::Reserved(_)) => return Err(CloseCode::Protocol),
        };
        if length > FRAME {
            return Err(CloseCode::Size);
        }
        Ok(Some(Frame { kind, is_last: header.is_final, mask, done: 0, length }))
    }

    /// Lets go of the frame if all of it is there, and notes what it says.
    fn finish(&mut self, asides: &mut Asides) {
        match self.frame.take_if(|frame| frame.done == frame.length) {
            Some(Frame { kind: Kind::Data, is_last, .. }) => self.is_within_message = !is_last,
            Some(Frame { kind: Kind::Ping(said), .. }) => asides.ping = Some(said),
            Some(Frame { kind: Kind::Close(said), .. }) => asides.end = Some(echo(&said)),
            Some(Frame { kind: Kind::Pong, .. }) | None => {}
        }
    }
}

impl Frame {
    /// Takes the mask off the next bytes of the payload.
    fn unmask(&mut self, payload: &mut [u8]) {
        let mut mask = self.mask;
        mask.rotate_left((self.done % 4) as usize);
        let (whole, rest) = payload.as_chunks_mut::<4>();
        for bytes in whole {
            *bytes = (u32::from_ne_bytes(*bytes) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
        }
        rest.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        self.done += payload.len() as u64;
    }
}

/// The answer to a client's farewell: its own code, if a client may say it.
fn echo(said: &[u8]) -> CloseCode {
    match said {
        [] => CloseCode::Normal,
        [high, low, ..] => {
            let code = CloseCode::from(u16::from_be_bytes([*high, *low]));
            if code.is_allowed() { code } else { CloseCode::Protocol }
        }
        [_] => CloseCode::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let length = match payload.len() {
            short @ ..126 => vec![0x80 | short as u8],
            long => [&[0xfe][..], &(long as u16).to_be_bytes()].concat(),
        };
        let payload = payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask);
        [&[first][..], &length, &mask].concat().into_iter().chain(payload).collect()
    }

    /// What is read of MQTT, and the asides, if the bytes arrive so many at a time.
    fn read(bytes: &[u8], at_a_time: usize) -> (Vec<u8>, Asides) {
        let (mut frames, mut mqtt, mut all) = (Frames::default(), vec![], Asides::default());
        for piece in bytes.chunks(at_a_time) {
            let mut piece = piece.to_vec();
            let (length, asides) = frames.read(&mut piece);
            mqtt.extend_from_slice(&piece[..length]);
            all.ping = asides.ping.or(all.ping);
            all.end = asides.end;
            if all.end.is_some() {
                break;
            }
        }
        (mqtt, all)
    }

    #[test]
    fn however_frames_are_cut_and_however_they_arrive_the_bytes_are_the_same() {
        let text: Vec<u8> = (0..=255).cycle().take(700).collect();
        let frames = [
            frame(0x82, &text[..5]),
            frame(0x02, &text[5..300]),
            frame(0x89, b"are you there?"),
            frame(0x00, b""),
            frame(0x00, &text[300..301]),
            frame(0x8a, b"unasked"),
            frame(0x80, &text[301..]),
            frame(0x82, b""),
        ];
        for at_a_time in [1, 2, 3, 7, 64, 5000] {
            let (mqtt, asides) = read(&frames.concat(), at_a_time);
            assert_eq!(mqtt, text, "{at_a_time} at a time");
            assert_eq!(asides, Asides { ping: Some(b"are you there?".to_vec()), end: None });
        }
    }

    #[test]
    fn of_many_pings_that_arrive_together_the_last_is_answered() {
        let (_, asides) = read(&[frame(0x89, b"1"), frame(0x89, b"2")].concat(), 5000);
        assert_eq!(asides.ping.as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn what_is_no_frame_of_a_client_or_no_mqtt_ends_the_conversation_with_its_code() {
        let large = |length: u64| [&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
        for (bytes, code, why) in [
            (frame(0x81, b"text"), CloseCode::Unsupported, "text"),
            (frame(0x01, b"te"), CloseCode::Unsupported, "the beginning of a text"),
            (vec![0x82, 1, 0], CloseCode::Protocol, "no mask"),
            (frame(0xc2, b"x"), CloseCode::Protocol, "compressed"),
            (frame(0x83, b"x"), CloseCode::Protocol, "a reserved kind of data"),
            (frame(0x8b, b"x"), CloseCode::Protocol, "a reserved kind of control"),
            (frame(0x80, b"x"), CloseCode::Protocol, "nothing goes on"),
            ([frame(0x02, b"x"), frame(0x82, b"x")].concat(), CloseCode::Protocol, "a message within one"),
            (frame(0x09, b"x"), CloseCode::Protocol, "a ping in pieces"),
            (frame(0x89, &[0; 126]), CloseCode::Protocol, "a long ping"),
            (large(FRAME + 1), CloseCode::Size, "too large"),
            (large(u64::MAX), CloseCode::Size, "as large as can be said"),
            (frame(0x88, b""), CloseCode::Normal, "a farewell"),
            (frame(0x88, &[3, 0xe9]), CloseCode::Away, "a farewell with a code"),
            (frame(0x88, &[3, 0xed]), CloseCode::Protocol, "a code that nobody sends"),
            (frame(0x88, &[3]), CloseCode::Protocol, "half a code"),
        ] {
            for at_a_time in [1, 5000] {
                let begun = frame(0x82, b"begun");
                let bytes = [&begun[..], &bytes, &frame(0x82, b"unheard")].concat();
                let (mqtt, asides) = read(&bytes, at_a_time);
                assert_eq!(asides.end, Some(code), "{why}");
                assert!(mqtt.starts_with(b"begun") && !mqtt.ends_with(b"unheard"), "{why}");
            }
        }
        assert_eq!(read(&large(FRAME), 5000).1, Asides::default(), "as large as may be");
    }
}
