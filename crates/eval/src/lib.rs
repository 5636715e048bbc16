//! Genera: eval
