//! Identities, tokens, authorization.
