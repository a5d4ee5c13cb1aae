//! From the bytes of a question to those of its answer. Pure.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};

use crate::view::{Resolved, View};

/// The largest answer by UDP, in bytes: it crosses any network in one piece (DNS flag day 2020). What is larger is asked for
/// again by TCP.
pub const MOST_UDP: u16 = 1232;
/// The largest to who does not say that it takes more (RFC 1035 section 2.3.4).
const PLAIN_UDP: u16 = 512;
/// The length of a header (RFC 1035 section 4.1.1).
const HEADER: usize = 12;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The answer to a message; `None`: it is none that is answered, as an answer is not.
pub fn answer(view: &View, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let header = request.first_chunk::<HEADER>()?;
    let id = u16::from_be_bytes([header[0], header[1]]);
    let is_answer = header[2] & 0x80 != 0;
    if is_answer {
        return None;
    }
    let op_code = OpCode::from_u8(header[2] >> 3 & 15);
    let recursion_desired = header[2] & 1 != 0;
    let refuse = |code| {
        let mut response = Message::error_msg(id, op_code, code);
        response.metadata.recursion_desired = recursion_desired;
        response.to_vec().ok()
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
    fill(view, &request, &mut response);
    let bytes = response.to_vec().ok()?;
    let limit = match transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp => request
            .edns
            .map_or(PLAIN_UDP, |edns| edns.max_payload())
            .clamp(PLAIN_UDP, MOST_UDP),
    };
    if bytes.len() <= limit.into() {
        return Some(bytes);
    }
    response.truncate().to_vec().ok()
}

fn fill(view: &View, request: &Message, response: &mut Message) {
    let Some(query) = request.queries.first() else {
        response.metadata.response_code = ResponseCode::FormErr;
        return;
    };
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        response.metadata.response_code = ResponseCode::BADVERS;
        return;
    }
    let whole_zone = [RecordType::AXFR, RecordType::IXFR].contains(&query.query_type());
    if query.query_class() != DNSClass::IN || whole_zone {
        response.metadata.response_code = ResponseCode::Refused;
        return;
    }
    let Resolved {
        code,
        answers,
        authority,
    } = view.resolve(query.name(), query.query_type());
    response.metadata.response_code = code;
    response.metadata.authoritative = code != ResponseCode::Refused;
    response.answers = answers;
    response.authorities.extend(authority);
}

#[cfg(test)]
mod tests;
