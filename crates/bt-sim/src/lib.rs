//! bt-sim
