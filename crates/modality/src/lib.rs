//! Genera: modality
