//! From the bytes of a question to those of its answer. Pure.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use photon_names::{Resolved, View};

/// The largest answer by UDP, in bytes: it crosses any network in one piece (DNS flag day 2020). What is larger is asked for
/// again by TCP.
pub const MOST_UDP: u16 = 1232;
/// The largest to who does not say that it takes more (RFC 1035 section 2.3.4).
const PLAIN_UDP: u16 = 512;
/// The length of a header (RFC 1035 section 4.1.1).
pub const HEADER: usize = 12;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What is to be done with a message.
#[derive(Debug)]
pub enum Answer {
    /// This is sent.
    Now(Vec<u8>),
    /// The name is foreign: this is sent unless somebody else is asked.
    Foreign(Vec<u8>),
    /// An alias leads to this foreign name, whose records come after it.
    Alias(Box<Unfinished>, Name),
    /// Nothing: it is no question.
    Nothing,
}

/// An answer of which the end is not known here.
#[derive(Debug)]
pub struct Unfinished {
    response: Message,
    /// In bytes.
    limit: u16,
}

/// The answer to a message, as far as it is known here.
pub fn answer(view: &View, request: &[u8], transport: Transport) -> Answer {
    let Some(header) = request.first_chunk::<HEADER>() else {
        return Answer::Nothing;
    };
    let id = u16::from_be_bytes([header[0], header[1]]);
    let is_answer = header[2] & 0x80 != 0;
    if is_answer {
        return Answer::Nothing;
    }
    let op_code = OpCode::from_u8(header[2] >> 3 & 15);
    let recursion_desired = header[2] & 1 != 0;
    let refuse = |code| {
        let mut response = Message::error_msg(id, op_code, code);
        response.metadata.recursion_desired = recursion_desired;
        response.to_vec().map_or(Answer::Nothing, Answer::Now)
    };
    match op_code {
        OpCode::Query => {}
        OpCode::Notify | OpCode::Update => return refuse(ResponseCode::Refused),
        _ => return refuse(ResponseCode::NotImp),
    }
    // Nobody asks two things at once; what the answer's code would be of is not said anywhere (RFC 9619).
    if [header[4], header[5]] != [0, 1] {
        return refuse(ResponseCode::FormErr);
    }
    let Ok(request) = Message::from_vec(request) else {
        return refuse(ResponseCode::FormErr);
    };
    let mut response = Message::new(id, MessageType::Response, op_code);
    response.metadata.recursion_desired = recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.checking_disabled = request.metadata.checking_disabled;
    response.queries.clone_from(&request.queries);
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MOST_UDP);
        response.edns = Some(edns);
    }
    let foreign = fill(view, &request, &mut response);
    let limit = match transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp => request
            .edns
            .map_or(PLAIN_UDP, |edns| edns.max_payload())
            .clamp(PLAIN_UDP, MOST_UDP),
    };
    let is_alias = !response.answers.is_empty();
    let unfinished = Unfinished { response, limit };
    match foreign {
        Some(name) if is_alias => Answer::Alias(Box::new(unfinished), name),
        // Who does not want us to look elsewhere asks what others have looked for (cache snooping).
        Some(_) if recursion_desired => {
            let refused = unfinished.finished();
            refused.map_or(Answer::Nothing, Answer::Foreign)
        }
        _ => unfinished.finished().map_or(Answer::Nothing, Answer::Now),
    }
}

impl Unfinished {
    /// What the records are to be.
    pub fn kind(&self) -> RecordType {
        let query = self.response.queries.first();
        query.map_or(RecordType::A, |query| query.query_type())
    }

    /// What is sent without more. `None`: a mistake in the program.
    pub fn finished(&self) -> Option<Vec<u8>> {
        let bytes = self.response.to_vec().ok()?;
        if bytes.len() <= self.limit.into() {
            return Some(bytes);
        }
        self.response.truncate().to_vec().ok()
    }

    /// What is sent with the records of the alias' end; `None` there: they could not be asked for.
    pub fn with(mut self, end: Option<Message>) -> Option<Vec<u8>> {
        match end {
            Some(end) => {
                self.response.answers.extend(end.answers);
                self.response.metadata.response_code = end.metadata.response_code;
            }
            None => self.response.metadata.response_code = ResponseCode::ServFail,
        }
        self.finished()
    }
}

/// That the question of a refusal could not be answered by somebody else either.
pub fn failed(refused: &[u8]) -> Option<Vec<u8>> {
    let mut response = Message::from_vec(refused).ok()?;
    response.metadata.response_code = ResponseCode::ServFail;
    response.to_vec().ok()
}

/// What somebody else answered, if it goes to who asked by `transport` in one piece; else that it must ask by TCP. `refused` has
/// its question.
pub fn fitted(answer: Vec<u8>, refused: &[u8], transport: Transport) -> Option<Vec<u8>> {
    if transport == Transport::Tcp || answer.len() <= MOST_UDP.into() {
        return Some(answer);
    }
    let mut response = Message::from_vec(refused).ok()?;
    response.metadata.response_code = ResponseCode::NoError;
    response.metadata.truncation = true;
    response.to_vec().ok()
}

/// Fills an answer with what is known; the foreign name that it leads to.
fn fill(view: &View, request: &Message, response: &mut Message) -> Option<Name> {
    let Some(query) = request.queries.first() else {
        response.metadata.response_code = ResponseCode::FormErr;
        return None;
    };
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        response.metadata.response_code = ResponseCode::BADVERS;
        return None;
    }
    let whole_zone = [RecordType::AXFR, RecordType::IXFR].contains(&query.query_type());
    if query.query_class() != DNSClass::IN || whole_zone {
        response.metadata.response_code = ResponseCode::Refused;
        return None;
    }
    let Resolved {
        code,
        answers,
        authority,
        foreign,
        zone: _,
    } = view.resolve(query.name(), query.query_type());
    response.metadata.response_code = code;
    response.metadata.authoritative = code != ResponseCode::Refused;
    response.answers = answers;
    response.authorities.extend(authority);
    foreign
}

#[cfg(test)]
mod tests;
