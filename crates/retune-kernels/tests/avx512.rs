//! The operators with the instructions of processors that have AVX-512 and no matrix unit: see `cases::choose_instructions`.

mod cases;
