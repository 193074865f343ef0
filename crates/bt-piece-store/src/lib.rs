//! bt-piece-store
