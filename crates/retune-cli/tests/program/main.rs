//! Runs the program as users do; each file covers one kind of use, or one kind of mishap.
//!
//! They are one test program: as thirty programs, each would link everything again.

#[path = "../common/mod.rs"]
mod common;

mod advising;
mod bad_input;
mod browser;
mod calibration;
mod channels;
mod checkpoints;
mod classes;
mod command_line;
mod comparing;
mod data_layouts;
mod exporting;
mod features;
mod going_on;
mod hub_data;
mod images_seen;
mod interruptions;
mod knn;
mod labels;
mod many_classes;
mod mpi;
mod multi_label;
mod multi_label_judged;
mod pages;
mod precision;
mod probe;
mod report;
mod representations;
mod same_bytes;
mod tensors;
mod umap_onto;
mod verifying;
mod without_locks;
