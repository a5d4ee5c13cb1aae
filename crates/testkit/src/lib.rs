//! Real servers on port 0, for tests alone.
