//! The operators with the instructions of processors that have AVX2 and no AVX-512: see `cases::choose_instructions`.

mod cases;
