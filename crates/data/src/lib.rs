//! Genera: data
