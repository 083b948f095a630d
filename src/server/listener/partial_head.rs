//! PartialHead: counts the bytes of a head, or of an HTTP/2 frame, that hyper has to keep until the rest arrives, and the
//! memory of HTTP/2 streams.

use crate::server::listener::activity::Activity;

/// How a client that has prior knowledge of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The streams that an HTTP/2 client may have open at a time.
pub const MAX_STREAMS: u32 = 32;

/// The memory of an HTTP/2 stream, until its response is sent. The h2 library keeps a part of it as long as the connection.
const STREAM_MEMORY: usize = 4 * 1024;

pub enum PartialHead {
    /// Until the protocol is known: the bytes of the preface.
    Preface(usize),
    Http1(Http1Head),
    Http2(Http2Frame),
}

#[derive(Default)]
pub struct Http1Head {
    length: usize,
    /// The requests of the connection before this head.
    begun: usize,
}

/// The frame that arrives (RFC 9113, section 4.1).
#[derive(Default)]
pub struct Http2Frame {
    header: [u8; Self::HEADER],
    received: usize,
    /// The length of the frames before it whose header block continues in it (section 4.3).
    block: usize,
    /// The streams that were opened so far, and the last of them (section 5.1.1).
    streams: usize,
    last_stream: u32,
}

impl PartialHead {
    pub fn new() -> Self {
        Self::Preface(0)
    }

    pub fn is_http1(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    /// Returns how many bytes hyper keeps after it has received these.
    pub fn receive(&mut self, bytes: &[u8], activity: &Activity) -> usize {
        match self {
            Self::Preface(known) => {
                let preface = bytes.iter().zip(&PREFACE[*known..]).take_while(|(byte, expected)| byte == expected);
                let more = preface.count();
                *known += more;
                if *known < PREFACE.len() && more == bytes.len() {
                    return *known;
                }
                *self = match *known == PREFACE.len() {
                    true => Self::Http2(Http2Frame::default()),
                    false => Self::Http1(Http1Head { length: *known, begun: 0 }),
                };
                // The preface that was not one is in the length of the head.
                self.receive(&bytes[more..], activity)
            }
            Self::Http1(head) => head.receive(bytes.len(), activity),
            Self::Http2(frame) => {
                frame.receive(bytes);
                frame.kept(activity.ended())
            }
        }
    }
}

impl Http1Head {
    /// What arrives during a request belongs to its body.
    fn receive(&mut self, bytes: usize, activity: &Activity) -> usize {
        let begun = activity.begun();
        if begun != self.begun {
            *self = Self { length: 0, begun };
        }
        if activity.is_idle() {
            self.length += bytes;
        }
        self.length
    }
}

impl Http2Frame {
    const HEADER: usize = 9;
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    const END_HEADERS: u8 = 4;

    fn receive(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.received < Self::HEADER {
                self.header[self.received] = *first;
                self.received += 1;
                bytes = rest;
            } else {
                let payload = bytes.len().min(self.length() - self.received);
                self.received += payload;
                bytes = &bytes[payload..];
            }
            if self.received >= Self::HEADER && self.received == self.length() {
                self.complete();
            }
        }
    }

    fn complete(&mut self) {
        let [_, _, _, kind, flags, id @ ..] = self.header;
        let continues = matches!(kind, Self::HEADERS | Self::CONTINUATION) && flags & Self::END_HEADERS == 0;
        self.block = if continues { self.block + self.received } else { 0 };
        self.received = 0;
        // The highest bit is reserved and ignored (RFC 9113, section 4.1).
        let stream = u32::from_be_bytes(id) & (u32::MAX >> 1);
        if kind == Self::HEADERS && stream > self.last_stream {
            self.last_stream = stream;
            self.streams += 1;
        }
    }

    /// With its header.
    fn length(&self) -> usize {
        let [a, b, c, ..] = self.header;
        Self::HEADER + u32::from_be_bytes([0, a, b, c]) as usize
    }

    /// The first open stream is a part of what a connection costs.
    fn kept(&self, ended: usize) -> usize {
        let open = self.streams.saturating_sub(ended).min(MAX_STREAMS as usize);
        self.block + self.received + open.saturating_sub(1) * STREAM_MEMORY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = (length as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.resize(9 + length, b'x');
        frame
    }

    #[test]
    fn http1_head_is_counted_until_its_request_begins() {
        let (activity, mut head) = (Activity::new(), PartialHead::new());
        assert_eq!(head.receive(b"P", &activity), 1);
        assert_eq!(head.receive(b"OST / HTTP/1.1\r\n", &activity), 17);
        assert!(head.is_http1());
        assert_eq!(head.receive(&[b'x'; 5000], &activity), 5017);
        let in_flight = activity.begin(false);
        assert_eq!(head.receive(&[b'x'; 5000], &activity), 0, "the body");
        drop(in_flight);
        assert_eq!(head.receive(b"GET /", &activity), 5);
    }

    #[test]
    fn http2_frame_is_counted_until_it_is_complete() {
        let activity = Activity::new();
        for size in [1, 7, 100_000] {
            let mut head = PartialHead::new();
            let mut receive = |bytes: &[u8]| bytes.chunks(size).map(|chunk| head.receive(chunk, &activity)).last();
            receive(PREFACE);
            assert_eq!(receive(&frame(4, 0, 12)), Some(0));
            assert_eq!(receive(&frame(0, 0, 10_000)[..8_000]), Some(8_000));
            assert_eq!(receive(&[b'x'; 2_009]), Some(0));
            assert_eq!(receive(&frame(1, 0, 100)), Some(109), "a header block that continues");
            assert_eq!(receive(&frame(9, 0, 200)), Some(318));
            assert_eq!(receive(&frame(9, 4, 300)[..50]), Some(368));
            assert_eq!(receive(&[b'x'; 259]), Some(0));
            assert_eq!(receive(&frame(1, 4, 300)), Some(0));
        }
    }

    #[test]
    fn http2_streams_are_counted_until_their_responses_are_sent() {
        let (activity, mut head) = (Activity::new(), PartialHead::new());
        head.receive(PREFACE, &activity);
        let mut open = |id: u8| {
            let mut headers = frame(1, 5, 10);
            headers[8] = id;
            head.receive(&headers, &activity)
        };
        assert_eq!([open(1), open(3), open(3), open(5)], [0, STREAM_MEMORY, STREAM_MEMORY, 2 * STREAM_MEMORY]);
        activity.end();
        activity.end();
        assert_eq!(open(7), STREAM_MEMORY);
        let most = (9..=255).step_by(2).map(&mut open).last();
        assert_eq!(most, Some((MAX_STREAMS as usize - 1) * STREAM_MEMORY));
    }
}
