//! What a server says it can do.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// An RPC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Method {
    /// `package.Service/Method`.
    pub name: String,
    /// The client sends a stream.
    pub client_streaming: bool,
    /// The server answers with a stream.
    pub server_streaming: bool,
}

/// Every RPC of the server, but those of gRPC itself (health, reflection), in order of name.
pub async fn methods(channel: &Channel) -> Vec<Method> {
    let list = match ask(channel, MessageRequest::ListServices(String::new())).await {
        MessageResponse::ListServicesResponse(list) => list,
        other => panic!("reflection lists no services: {other:?}"),
    };
    let services = list.service.into_iter().map(|service| service.name);
    let mut methods = Vec::new();
    for service in services.filter(|name| !name.starts_with("grpc.")) {
        let files = files(channel, &service).await;
        let (package, name) = service.rsplit_once('.').expect("services are in packages");
        let descriptor = files
            .values()
            .filter(|file| file.package() == package)
            .flat_map(|file| &file.service)
            .find(|it| it.name() == name)
            .unwrap_or_else(|| panic!("reflection lists {service} but does not describe it"));
        methods.extend(descriptor.method.iter().map(|method| Method {
            name: format!("{service}/{}", method.name()),
            client_streaming: method.client_streaming(),
            server_streaming: method.server_streaming(),
        }));
    }
    methods.sort();
    methods
}

async fn files(channel: &Channel, symbol: &str) -> BTreeMap<String, FileDescriptorProto> {
    match ask(
        channel,
        MessageRequest::FileContainingSymbol(symbol.to_owned()),
    )
    .await
    {
        MessageResponse::FileDescriptorResponse(files) => files
            .file_descriptor_proto
            .iter()
            .map(|bytes| {
                let file = FileDescriptorProto::decode(bytes.as_slice()).expect("a descriptor");
                (file.name().to_owned(), file)
            })
            .collect(),
        other => panic!("reflection does not know {symbol}: {other:?}"),
    }
}

async fn ask(channel: &Channel, question: MessageRequest) -> MessageResponse {
    let request = tokio_stream::once(ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    });
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client
        .server_reflection_info(request)
        .await
        .expect("reflection");
    let answer = answers
        .into_inner()
        .message()
        .await
        .expect("reflection")
        .expect("an answer");
    answer.message_response.expect("an answer with a message")
}
