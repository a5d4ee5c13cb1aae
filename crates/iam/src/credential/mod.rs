//! Credentials: what a principal proves with who it is, and the slowing of those who guess.

mod api_secret;
mod password;
mod refresh_secret;
mod s3_secret;
mod slowdown;

pub use api_secret::ApiSecret;
pub use password::{Passwords, Queue, validate_password};
pub use refresh_secret::RefreshSecret;
pub use s3_secret::new_s3_pair;
pub use slowdown::{Attempt, Slowdown, address};
