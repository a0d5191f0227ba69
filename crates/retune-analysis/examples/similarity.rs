//! CKA between random features, the same features turned and scaled, and other random features: 1 and about 0.
//!
//!     cargo run --release -p retune-analysis --example similarity

use rand::RngExt;
use retune_analysis::cka::{CkaError, Estimator, Kernel, Rows, compare};

const IMAGES: usize = 200;
const WIDTH: usize = 2;

fn main() -> Result<(), CkaError> {
    let mut random = retune_random::generator(0, &[]);
    let mut draw = || (0..IMAGES * WIDTH).map(|_| random.random::<f32>()).collect::<Vec<f32>>();
    let (features, others) = (draw(), draw());
    let turned: Vec<f32> = features.as_chunks::<WIDTH>().0.iter().flat_map(|[x, y]| [3.0 * y, -3.0 * x]).collect();
    let [features, turned, others] = [&features, &turned, &others].map(|values| Rows { values, width: WIDTH });
    for estimator in Estimator::ALL {
        let to_turned = compare(features, turned, Kernel::Linear, estimator)?;
        let to_others = compare(features, others, Kernel::Linear, estimator)?;
        println!("{:>8}: turned and scaled {to_turned:.4}, unrelated {to_others:.4}", estimator.name());
    }
    Ok(())
}
