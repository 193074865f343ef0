//! bt-tracker-server
