//! FlashDNS over gRPC, with the servers that it follows.

mod names;
mod zones;
