//! Genera: engine
