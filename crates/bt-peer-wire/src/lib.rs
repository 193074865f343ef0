//! bt-peer-wire
