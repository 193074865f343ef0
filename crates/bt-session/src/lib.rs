//! bt-session
