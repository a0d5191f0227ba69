//! The operators with the widest instructions of this processor.

mod cases;
