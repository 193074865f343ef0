//! bt-tracker
