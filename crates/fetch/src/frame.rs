//! What goes over the socket: pieces, each with its length before it (four bytes, big endian). An empty piece ends the
//! content; a connection that ends without one was cut.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The most of one piece, in bytes.
pub const LARGEST: usize = 256 << 10;

/// Sends one.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), piece: &[u8]) -> io::Result<()> {
    let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(piece).await
}

/// Takes one.
///
/// # Errors
/// `UnexpectedEof` when the other side has gone; `InvalidData` for a piece that is too long.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LARGEST {
        let text = format!("a piece of {length} bytes, of which {LARGEST} are allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut piece = vec![0; length];
    stream.read_exact(&mut piece).await?;
    Ok(piece)
}
