//! Centered kernel alignment: how alike two representations of the same images are.
//!
//! CKA (Kornblith et al. 2019, arXiv 1905.00414) compares which images are near each other in one representation with
//! which are in another. It is 1 where the two differ by a rotation and a scale, and does not ask for the same number of
//! features. With K and L the n × n matrices of kernel values between images,
//!
//! ```text
//! CKA(K, L) = HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L))
//! ```
//!
//! The estimator of HSIC that the paper uses is biased: with few images and many features, CKA goes to 1 whatever the
//! features are. The debiased estimator (Song et al. 2012, JMLR 13, equation 5; Nguyen et al. 2021, arXiv 2010.15327)
//! has an expectation of 0 for independent features at any n, and is the default here.
//!
//! Both are cosines between two centered kernel matrices. The biased one centers by `HKH`; the debiased one leaves the
//! diagonal out and centers as Székely & Rizzo 2014 (Annals of Statistics 42, equation 2.3) do, which gives Song's
//! estimator in one product.
//!
//! [`compare`] takes two feature matrices at hand. [`Alignment`] takes the kernel matrices of many representations,
//! minibatch after minibatch, and [`models`] streams images through models into it.

mod alignment;
mod feature_space;
mod gram;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use alignment::{Alignment, Estimate};
pub use gram::Gram;

/// How similar two images are, given their features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// The inner product.
    Linear,
    /// `exp(−‖x − y‖² / 2σ²)`, where σ is this fraction of the median distance between two different images.
    Rbf {
        /// The fraction. Kornblith et al. report 0.2, 0.4 and 0.8.
        bandwidth: f64,
    },
}

impl Kernel {
    /// The bandwidth that is used where none is named: the largest that Kornblith et al. report.
    pub const DEFAULT_BANDWIDTH: f64 = 0.8;
}

/// How HSIC is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Estimator {
    /// `tr(KHLH) / (n − 1)²` (Gretton et al. 2005), as Kornblith et al. use: inflated where images are few.
    Biased,
    /// Song et al.'s unbiased estimator. A mean over minibatches estimates the same.
    #[default]
    Debiased,
}

impl Estimator {
    /// Every estimator.
    pub const ALL: [Self; 2] = [Self::Biased, Self::Debiased];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Biased => "biased",
            Self::Debiased => "debiased",
        }
    }

    /// The fewest images for which the estimate says anything: below, it is 1 or undefined for any features.
    pub fn fewest_images(self) -> usize {
        match self {
            Self::Biased => 3,
            Self::Debiased => 4,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear => formatter.write_str("linear"),
            Self::Rbf { bandwidth } => write!(formatter, "RBF, bandwidth {bandwidth} of the median distance"),
        }
    }
}

impl fmt::Display for Estimator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The error of [`Estimator::from_str`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown estimator `{name}`: use biased or debiased")]
pub struct UnknownEstimator {
    /// The name that was given.
    pub name: String,
}

impl FromStr for Estimator {
    type Err = UnknownEstimator;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|estimator| estimator.name() == name);
        known.ok_or_else(|| UnknownEstimator { name: name.to_owned() })
    }
}

/// Why there is no CKA of two representations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Undefined {
    /// Fewer images than the estimator needs.
    #[error(
        "{n} {are} too few: the {estimator} estimator needs at least {needed}",
        are = if *n == 1 { "image is" } else { "images are" }, needed = estimator.fewest_images()
    )]
    TooFewImages {
        /// Images.
        n: usize,
        /// The estimator.
        estimator: Estimator,
    },
    /// Nothing varies.
    #[error("every image has the same features")]
    ConstantFeatures,
    /// Features vary, but no two images are more alike than any others.
    #[error("every two images are equally alike")]
    NoStructure,
    /// The median distance is 0.
    #[error("more than half of the pairs of images have equal features, so that the RBF kernel has no bandwidth")]
    NoBandwidth,
}

/// Why two feature matrices could not be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CkaError {
    /// The matrices do not have a row for each image.
    #[error("{values} values are not a whole number of rows of {width} features")]
    Shape {
        /// Values.
        values: usize,
        /// Features of each image.
        width: usize,
    },
    /// The two are not of the same images.
    #[error("features of {one} and of {other} images cannot be compared: CKA needs the same images")]
    Images {
        /// Images of the first.
        one: usize,
        /// Images of the second.
        other: usize,
    },
    /// A NaN or an infinity.
    #[error("the features of image {row} are not finite")]
    NotFinite {
        /// The image's row.
        row: usize,
    },
    /// The value does not exist.
    #[error("CKA is not defined here: {0}")]
    Undefined(#[from] Undefined),
}

/// Features of images: row-major, one row of `width` values for each.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// All rows.
    pub values: &'a [f32],
    /// Values in a row.
    pub width: usize,
}

impl Rows<'_> {
    fn check(self) -> Result<usize, CkaError> {
        if self.width == 0 || !self.values.len().is_multiple_of(self.width) {
            return Err(CkaError::Shape { values: self.values.len(), width: self.width });
        }
        match self.values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(CkaError::NotFinite { row: at / self.width }),
            None => Ok(self.values.len() / self.width),
        }
    }

    /// Whether all rows are equal.
    fn are_constant(self) -> bool {
        self.values.chunks_exact(self.width).all(|row| row == &self.values[..self.width])
    }
}

/// CKA of two representations of the same images, computed in double precision from matrices of features (linear kernel,
/// fewer features than images) or of images, whichever are smaller.
///
/// # Errors
/// Different numbers of images, values that are not finite, and [`Undefined`] cases.
///
/// ```
/// use retune_analysis::cka::{Estimator, Kernel, Rows, compare};
/// let features = [1.0, 0.0, 0.0, 2.0, 3.0, 1.0, 1.0, 5.0, 2.0, 2.0];
/// let doubled = features.map(|value: f32| 2.0 * value);
/// let (one, other) = (Rows { values: &features, width: 2 }, Rows { values: &doubled, width: 2 });
/// let cka = compare(one, other, Kernel::Linear, Estimator::Debiased)?;
/// assert!((cka - 1.0).abs() < 1e-12);
/// # Ok::<(), retune_analysis::cka::CkaError>(())
/// ```
pub fn compare(one: Rows, other: Rows, kernel: Kernel, estimator: Estimator) -> Result<f64, CkaError> {
    let (n, others) = (one.check()?, other.check()?);
    if n != others {
        return Err(CkaError::Images { one: n, other: others });
    }
    if n < estimator.fewest_images() {
        return Err(Undefined::TooFewImages { n, estimator }.into());
    }
    if kernel == Kernel::Linear && one.width.max(other.width) < n {
        return Ok(feature_space::compare(one, other, estimator)?);
    }
    let mut alignment = Alignment::new(2, vec![(0, 1)], estimator, 0, 0);
    alignment.add(vec![Gram::of(one, kernel), Gram::of(other, kernel)]);
    Ok(alignment.finish()[0].value?)
}
