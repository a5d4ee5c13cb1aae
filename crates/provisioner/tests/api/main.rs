//! The provisioner over gRPC and HTTP, with a real IAM, a real store, real TLS and real files; systemd alone is a fake.

mod approval;
mod boot;
mod certificates;
mod enrolment;
mod installation;
mod token;
