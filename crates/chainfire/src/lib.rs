//! The append-only, tamper-evident event log.
