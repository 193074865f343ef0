//! bt-bencoding
