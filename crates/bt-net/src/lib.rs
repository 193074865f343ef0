//! bt-net
