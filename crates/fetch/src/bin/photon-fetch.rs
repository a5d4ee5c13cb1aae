//! One download, for who connected to `photon-fetch.socket` (systemd.socket(5), `Accept=yes`): the connection is the
//! standard input.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use anyhow::Context;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let connection = std::io::stdin().as_fd().try_clone_to_owned()?;
    let connection = UnixStream::from(connection);
    connection
        .set_nonblocking(true)
        .context("the standard input is no connection: systemd starts this program")?;
    let connection = tokio::net::UnixStream::from_std(connection)
        .context("the standard input is no connection: systemd starts this program")?;
    photon_fetch::serve(connection).await
}
