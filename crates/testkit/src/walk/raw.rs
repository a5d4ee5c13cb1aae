//! Calls of any method, with messages that are encoded already.

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Bytes in, bytes out.
#[derive(Clone, Copy, Debug, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Calls `method` (`package.Service/Method`) with these encoded messages, and waits for the first of the answer (empty: it ended without one). On the wire a
/// unary call is a stream of one message, so this fits every kind. `None`: the server neither answers nor refuses, as a
/// stream does that has nothing to say yet. `call_id` is what the call's events bear.
pub async fn call(
    channel: &Channel,
    method: &str,
    messages: &[Bytes],
    token: Option<&str>,
    call_id: Option<&str>,
) -> Option<Result<Bytes, Status>> {
    let path: PathAndQuery = format!("/{method}").parse().expect("a method's path");
    let mut request = Request::new(tokio_stream::iter(messages.to_vec()));
    if let Some(token) = token {
        let value = format!("Bearer {token}")
            .parse()
            .expect("a token is visible ASCII");
        request.metadata_mut().insert("authorization", value);
    }
    if let Some(id) = call_id {
        let value = id.parse().expect("an id is visible ASCII");
        request.metadata_mut().insert("x-request-id", value);
    }
    let mut client = Grpc::new(channel.clone());
    let answer = async {
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let response = client.streaming(request, path, RawCodec).await?;
        Ok(response.into_inner().message().await?.unwrap_or_default())
    };
    tokio::time::timeout(super::PATIENCE, answer).await.ok()
}
