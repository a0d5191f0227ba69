//! What models make of data, and models made of models: features written out, weights interpolated and averaged.

pub mod advise;
pub mod audit;
pub mod cka;
pub mod feature_change;
pub mod features;
pub mod learning_rate;
pub mod mixing;
pub mod neighbours;
pub mod run_map;
pub mod trustworthiness;
pub mod umap;
