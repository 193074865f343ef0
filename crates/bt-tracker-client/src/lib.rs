//! bt-tracker-client
