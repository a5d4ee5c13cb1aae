use photon_api::prismnet::v1 as pb;
use photon_resource::Error;

use crate::app::{Asked, Question, Step, Trace, Verdict};

/// What is asked about. Errors: `InvalidArgument`.
pub fn question(request: &pb::TraceRequest) -> Result<Question, Error> {
    let to = request.address.parse().map_err(|_| {
        let expected = "an IPv4 or IPv6 address such as 10.0.1.10";
        Error::invalid("address", &request.address, expected)
    })?;
    let port = || {
        u16::try_from(request.port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| Error::invalid("port", request.port, "1 to 65535"))
    };
    let traffic = match (pb::Protocol::try_from(request.protocol), request.port) {
        (Ok(pb::Protocol::Tcp), _) => Asked::Tcp(port()?),
        (Ok(pb::Protocol::Udp), _) => Asked::Udp(port()?),
        (Ok(pb::Protocol::Icmp | pb::Protocol::Unspecified), 0) => Asked::Icmp,
        (Ok(pb::Protocol::Unspecified), _) => Asked::Tcp(port()?),
        (Ok(pb::Protocol::Icmp), given) => {
            return Err(Error::invalid("port", given, "0: ICMP has no ports"));
        }
        (Ok(pb::Protocol::Any) | Err(_), _) => {
            let expected = "PROTOCOL_TCP, PROTOCOL_UDP or PROTOCOL_ICMP";
            return Err(Error::invalid("protocol", request.protocol, expected));
        }
    };
    Ok(Question { to, traffic })
}

/// The way of a packet as clients see it.
pub fn trace(trace: Trace) -> pb::TraceResponse {
    let step = |step: Step| pb::TraceStep {
        kind: step.kind.to_owned(),
        id: step.id,
        name: step.name,
        text: step.text,
    };
    let verdict = match trace.verdict {
        Verdict::Allowed => pb::TraceVerdict::Allowed,
        Verdict::Dropped => pb::TraceVerdict::Dropped,
        Verdict::Beyond => pb::TraceVerdict::Beyond,
    };
    pb::TraceResponse {
        steps: trace.steps.into_iter().map(step).collect(),
        verdict: verdict.into(),
    }
}
