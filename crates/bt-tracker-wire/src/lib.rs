//! bt-tracker-wire
