//! bt-engine
