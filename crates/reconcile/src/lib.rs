//! The reconciler: signal and timer, backoff, status.
