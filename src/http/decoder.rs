//! The state of one connection's input: where in a request the next byte stands.

use super::chunked::{Chunked, Progress};
use super::head::{self, BodyLength, Found, Head, HeadLimits, HeadScan, Violation};
use super::known::KnownHead;

/// Empty lines that are passed over ahead of a request line.
const EMPTY_LINES_MAX: u8 = 4;
/// A body whose length is declared is given this much room at once; beyond, memory follows the bytes that really came.
const BODY_ROOM_MAX: usize = 64 << 10;

/// How a request with the method HEAD begins.
const HEAD: &[u8] = b"HEAD ";

/// What the bytes so far mean.
#[derive(Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "a head is what most steps bring, and a box would be an allocation each"
)]
pub enum Step<'a> {
    /// All input was used (and kept, where it has to be); more is needed.
    More,
    /// A head is complete. Say what is to become of its body before the next step: [`Decoder::take_body`] or
    /// [`Decoder::skip_body`].
    Head(Head<'a>),
    /// The body is complete. The holder may spoil it.
    Body(&'a [u8]),
    /// The body that nobody wants has passed.
    Skipped,
    /// The bytes break the rules. Nothing after them has a meaning.
    Violation(Violation),
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In a head; `empty_lines` were passed over ahead of it.
    Head { scan: HeadScan, empty_lines: u8 },
    /// The head was told; what becomes of the body has not been said yet.
    Judging { body: BodyLength },
    /// In a body of known length.
    Length { left: u64, keep: bool },
    /// In a chunked body that may come to `bytes_max`, `bytes` of which came.
    Chunked { coding: Chunked, bytes: usize, bytes_max: usize, keep: bool },
    /// A kept body was told from `assembly`: it is let go at the next step.
    Told,
    /// After a violation.
    Failed { is_for_head: bool },
}

/// Takes a connection's bytes apart into heads and bodies.
///
/// What lies in one piece in the input is told from there, without a copy; only what comes in several pieces is assembled here. An idle
/// decoder holds no memory but itself.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// The part of a head or body that came before.
    assembly: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::head(0), assembly: Vec::new() }
    }
}

impl State {
    fn head(empty_lines: u8) -> Self {
        Self::Head { scan: HeadScan::default(), empty_lines }
    }
}

impl Decoder {
    /// Between two requests, with nothing of the next one here.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head { .. } | State::Told) && self.assembled_bytes() == 0
    }

    /// Inside of a head.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    /// Whether the head that is under way, or was refused, is one of HEAD, whose answer has no body whatever it says (RFC 9110 section 9.3.2).
    pub fn is_for_head(&self) -> bool {
        match self.state {
            State::Head { .. } => self.assembly.starts_with(HEAD),
            State::Failed { is_for_head } => is_for_head,
            _ => false,
        }
    }

    /// Bytes kept for a request that is not complete.
    pub fn assembled_bytes(&self) -> usize {
        if matches!(self.state, State::Told) { 0 } else { self.assembly.len() }
    }

    /// Bytes kept, and those that are known to come: all of a body whose length was declared.
    pub fn reserved_bytes(&self) -> usize {
        let to_come = match self.state {
            State::Length { left, keep: true } => usize::try_from(left).unwrap_or(usize::MAX),
            _ => 0,
        };
        self.assembled_bytes().saturating_add(to_come)
    }

    /// After [`Step::Head`]: the body is wanted. A body of declared length comes as declared (judge that with the head); a chunked
    /// one may come to `bytes_max`.
    pub fn take_body(&mut self, bytes_max: usize) {
        self.begin_body(bytes_max, true);
    }

    /// After [`Step::Head`]: the body is to be passed over: as long as declared (judge that with the head), or chunked up to `bytes_max`.
    pub fn skip_body(&mut self, bytes_max: usize) {
        self.begin_body(bytes_max, false);
    }

    fn begin_body(&mut self, bytes_max: usize, keep: bool) {
        let State::Judging { body } = self.state else { panic!("a body begins behind a head") };
        self.release();
        self.state = match body {
            BodyLength::None => State::Length { left: 0, keep },
            BodyLength::Length(left) => State::Length { left, keep },
            BodyLength::Chunked => State::Chunked { coding: Chunked::new(), bytes: 0, bytes_max, keep },
        };
    }

    /// Takes a step; returns how many bytes of `input` it used. Call it until it says [`Step::More`] or [`Step::Violation`]. `known` makes it
    /// quicker where a head comes again, and no difference else: it may be this connection's, another's, or new each time.
    pub fn step<'a>(
        &'a mut self,
        input: &'a [u8],
        limits: HeadLimits,
        known: &mut KnownHead,
    ) -> (usize, Step<'a>) {
        if matches!(self.state, State::Told) {
            self.release();
            self.state = State::head(0);
        }
        match self.state {
            State::Head { .. } => self.step_head(input, limits, known),
            State::Length { left, keep } => self.step_length(input, left, keep),
            State::Chunked { .. } => self.step_chunked(input),
            State::Failed { .. } => (input.len(), Step::More),
            State::Judging { .. } => panic!("the head was told; say what becomes of its body first"),
            State::Told => unreachable!("left above"),
        }
    }

    fn step_head<'a>(
        &'a mut self,
        input: &'a [u8],
        limits: HeadLimits,
        known: &mut KnownHead,
    ) -> (usize, Step<'a>) {
        if self.assembly.is_empty() {
            // Nearly every head comes in one piece.
            let window = &input[..input.len().min(limits.head_bytes_max)];
            if let Some((head, used)) = known.read(window) {
                self.state = State::Judging { body: head.body };
                return (used, Step::Head(head));
            }
        }
        let mut used = 0;
        loop {
            let State::Head { mut scan, empty_lines } = self.state else { unreachable!("in a head") };
            let room = limits.head_bytes_max - self.assembly.len();
            let fresh = &input[used..];
            let window = &fresh[..fresh.len().min(room)];
            let kept = self.assembly.len();
            let found = if kept == 0 {
                scan.scan(window)
            } else {
                self.assembly.extend_from_slice(window);
                scan.scan(&self.assembly)
            };
            let is_for_head = if kept == 0 { fresh } else { &self.assembly[..] }.starts_with(HEAD);
            match found {
                Found::EmptyLineAhead if empty_lines < EMPTY_LINES_MAX => {
                    used += 2 - kept;
                    self.assembly.clear();
                    self.state = State::head(empty_lines + 1);
                }
                Found::EmptyLineAhead => {
                    let violation = Violation::Malformed("empty lines instead of a request");
                    return self.fail(input, violation, false);
                }
                Found::BareLineFeed => {
                    let violation = Violation::Malformed("a line feed without carriage return");
                    return self.fail(input, violation, is_for_head);
                }
                Found::Nothing if window.len() == room => {
                    let violation = scan.too_large(if kept == 0 { window } else { &self.assembly });
                    return self.fail(input, violation, is_for_head);
                }
                Found::Nothing => {
                    if kept == 0 {
                        self.assembly.extend_from_slice(window);
                    }
                    self.state = State::Head { scan, empty_lines };
                    return (input.len(), Step::More);
                }
                Found::End(end) => {
                    let start = used;
                    used += end - kept;
                    let bytes = if kept == 0 {
                        &input[start..used]
                    } else {
                        self.assembly.truncate(end);
                        &self.assembly[..]
                    };
                    return match head::parse(bytes) {
                        Ok(head) => {
                            self.state = State::Judging { body: head.body };
                            (used, Step::Head(head))
                        }
                        Err(violation) => {
                            self.state = State::Failed { is_for_head };
                            (used, Step::Violation(violation))
                        }
                    };
                }
            }
        }
    }

    fn step_length<'a>(&'a mut self, input: &'a [u8], left: u64, keep: bool) -> (usize, Step<'a>) {
        let here = usize::try_from(left).map_or(input.len(), |left| input.len().min(left));
        let left = left - here as u64;
        if !keep {
            return if left == 0 {
                self.state = State::head(0);
                (here, Step::Skipped)
            } else {
                self.state = State::Length { left, keep };
                (here, Step::More)
            };
        }
        if left > 0 {
            if self.assembly.is_empty() {
                let whole = usize::try_from(left).unwrap_or(usize::MAX).saturating_add(here);
                self.assembly.reserve_exact(whole.min(BODY_ROOM_MAX.max(here)));
            }
            self.assembly.extend_from_slice(&input[..here]);
            self.state = State::Length { left, keep };
            return (here, Step::More);
        }
        if self.assembly.is_empty() {
            self.state = State::head(0);
            return (here, Step::Body(&input[..here]));
        }
        self.assembly.extend_from_slice(&input[..here]);
        self.state = State::Told;
        (here, Step::Body(&self.assembly))
    }

    fn step_chunked<'a>(&'a mut self, input: &'a [u8]) -> (usize, Step<'a>) {
        let State::Chunked { mut coding, mut bytes, bytes_max, keep } = self.state else {
            unreachable!("in a chunked body")
        };
        let assembly = &mut self.assembly;
        let decoded = coding.decode(input, |data| {
            bytes += data.len();
            if bytes > bytes_max {
                return Err(Violation::BodyTooLarge);
            }
            if keep {
                assembly.extend_from_slice(data);
            }
            Ok(())
        });
        match decoded {
            Err(violation) => self.fail(input, violation, false),
            Ok((used, Progress::More)) => {
                self.state = State::Chunked { coding, bytes, bytes_max, keep };
                (used, Step::More)
            }
            Ok((used, Progress::Done)) if keep => {
                self.state = State::Told;
                (used, Step::Body(&self.assembly))
            }
            Ok((used, Progress::Done)) => {
                self.state = State::head(0);
                (used, Step::Skipped)
            }
        }
    }

    fn fail<'a>(&mut self, input: &[u8], violation: Violation, is_for_head: bool) -> (usize, Step<'a>) {
        self.release();
        self.state = State::Failed { is_for_head };
        (input.len(), Step::Violation(violation))
    }

    /// Lets go of all memory: connections are many, and most of them idle.
    fn release(&mut self) {
        self.assembly = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;
    use proptest::prelude::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 1024 };
    const BODY_MAX: usize = 64;

    /// What a connection's bytes came to.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Told {
        Request { method: Method, path: String, keep_alive: bool },
        Body(Vec<u8>),
        Skipped,
        Violation(Violation),
    }

    /// Feeds `input`, cut at `cuts`; bodies of `/skip` are skipped.
    fn feed(input: &[u8], cuts: &[usize]) -> Vec<Told> {
        let (mut decoder, mut known) = (Decoder::default(), KnownHead::default());
        let mut told = Vec::new();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        ends.push(input.len());
        ends.sort_unstable();
        let mut start = 0;
        for end in ends {
            let piece = &input[start..end];
            start = end;
            let mut used = 0;
            loop {
                let (more, step) = decoder.step(&piece[used..], LIMITS, &mut known);
                used += more;
                let mut skip = None;
                match step {
                    Step::More => break,
                    Step::Head(head) => {
                        skip = Some(head.path == "/skip");
                        told.push(Told::Request {
                            method: head.method,
                            path: head.path.to_owned(),
                            keep_alive: head.keep_alive,
                        });
                    }
                    Step::Body(body) => {
                        told.push(Told::Body(body.to_vec()));
                    }
                    Step::Skipped => told.push(Told::Skipped),
                    Step::Violation(violation) => {
                        told.push(Told::Violation(violation));
                        return told;
                    }
                }
                match skip {
                    Some(true) => decoder.skip_body(BODY_MAX),
                    Some(false) => decoder.take_body(BODY_MAX),
                    None => {}
                }
            }
            assert_eq!(used, piece.len(), "all input is used");
        }
        told
    }

    fn request(method: Method, path: &str) -> Told {
        Told::Request { method, path: path.to_owned(), keep_alive: true }
    }

    #[test]
    fn pipelined_requests_are_told_in_order() {
        let input = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
            \r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n\
            POST /skip HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n\
            POST /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n1\r\nz\r\n0\r\n\r\n";
        let expected = vec![
            request(Method::Post, "/a"),
            Told::Body(b"abc".to_vec()),
            request(Method::Get, "/b"),
            Told::Body(vec![]),
            request(Method::Post, "/skip"),
            Told::Skipped,
            request(Method::Post, "/d"),
            Told::Body(b"xyz".to_vec()),
        ];
        assert_eq!(feed(input, &[]), expected);
        let every_byte: Vec<usize> = (0..input.len()).collect();
        assert_eq!(feed(input, &every_byte), expected, "byte by byte");
    }

    #[test]
    fn a_head_that_does_not_end_within_its_bound_is_refused_by_what_is_too_long() {
        let target = [b"GET /".to_vec(), vec![b'a'; 2000]].concat();
        assert_eq!(feed(&target, &[]), [Told::Violation(Violation::TargetTooLong)]);
        let method = vec![b'A'; 2000];
        assert!(matches!(feed(&method, &[])[..], [Told::Violation(Violation::Malformed(_))]));
        let fields = [b"GET / HTTP/1.1\r\nHost: h\r\nA: ".to_vec(), vec![b'a'; 2000]].concat();
        assert_eq!(feed(&fields, &[]), [Told::Violation(Violation::HeadTooLarge)]);
    }

    #[test]
    fn a_chunked_body_is_held_to_its_bound() {
        let input = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n30\r\n0123";
        let whole = [&input[..], &[b'x'; 44], b"\r\n30\r\nabcdefghijklmnopqrstuvwxyz"].concat();
        assert_eq!(feed(&whole, &[]).last(), Some(&Told::Violation(Violation::BodyTooLarge)));
    }

    #[test]
    fn rfc9112_2_2_a_few_empty_lines_ahead_are_passed_over_and_bare_feeds_refused() {
        let input = b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(feed(input, &[1, 3])[0], request(Method::Get, "/"));
        assert!(matches!(feed(b"\r\n\r\n\r\n\r\n\r\n\r\n", &[])[..], [Told::Violation(_)]));
        assert!(matches!(feed(b"\nGET / HTTP/1.1\r\n", &[])[..], [Told::Violation(_)]));
        assert!(matches!(feed(b"GET / HTTP/1.1\nHost: h\n\n", &[])[..], [Told::Violation(_)]));
    }

    #[test]
    fn rfc9110_9_3_2_a_refused_head_is_known_for_one_of_head() {
        for (input, expected) in [
            ("HEAD / HTTP/1.1\r\n\r\n", true),
            ("\r\nHEAD / HTTP/1.1\r\nHost: a\n", true),
            ("HEAD / HTTP/1.1\r\nHo", true),
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("HEADS / HTTP/1.1\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHEAD \r\nx", false),
        ] {
            for cut in 0..input.len() {
                let (mut decoder, mut known) = (Decoder::default(), KnownHead::default());
                for piece in [&input[..cut], &input[cut..]] {
                    let piece = piece.as_bytes();
                    let mut used = 0;
                    loop {
                        let (more, step) = decoder.step(&piece[used..], LIMITS, &mut known);
                        used += more;
                        match step {
                            Step::Head(_) => decoder.take_body(BODY_MAX),
                            Step::More | Step::Violation(_) => break,
                            Step::Body(_) | Step::Skipped => {}
                        }
                    }
                }
                assert_eq!(decoder.is_for_head(), expected, "{input:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_idle_decoder_holds_no_memory() {
        let mut known = KnownHead::default();
        let mut decoder = Decoder::default();
        let input = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nab".to_vec();
        let (head_end, _) = decoder.step(&input, LIMITS, &mut known);
        decoder.take_body(BODY_MAX);
        assert_eq!(decoder.step(&input[head_end..], LIMITS, &mut known).1, Step::More);
        assert_eq!(decoder.assembled_bytes(), 2);
        assert_eq!(decoder.step(b"c", LIMITS, &mut known).1, Step::Body(b"abc"));
        assert!(decoder.is_idle());
        assert_eq!(decoder.step(&[], LIMITS, &mut known).1, Step::More);
        assert_eq!(decoder.assembly.capacity(), 0);
    }

    fn any_piece() -> impl Strategy<Value = Vec<u8>> {
        let texts = [
            "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
            "POST /skip HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
            "GET /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\nA: b\r\n\r\n",
            "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n",
            "\r\n",
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ];
        prop_oneof![
            6 => prop::sample::select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..20),
            1 => (900..1200usize).prop_map(|n| [b"GET / HTTP/1.1\r\nHost: h\r\nA: ".to_vec(), vec![b'a'; n], b"\r\n\r\n".to_vec()].concat()),
        ]
    }

    proptest! {
        #[test]
        fn any_cut_of_the_input_gives_the_same_requests(
            pieces in prop::collection::vec(any_piece(), 1..5),
            cuts in prop::collection::vec(any::<usize>(), 0..20),
        ) {
            let input = pieces.concat();
            prop_assert_eq!(feed(&input, &[]), feed(&input, &cuts));
        }
    }
}
