//! Genera: tensor
