//! bt-metainfo
