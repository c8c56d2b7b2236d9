//! What the API reads.
