//! Colors of series and of values.

use std::sync::OnceLock;

/// Okabe and Ito's eight, then twelve that were chosen one by one, each as far as can be in OKLab from those before it,
/// also as readers without red or green cones see them.
pub const SERIES: [&str; 20] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F", "#690000", "#3C0087",
    "#5AF0A5", "#0000FF", "#962D69", "#9669FF", "#4B5A00", "#691EC3", "#003C3C", "#96B487", "#B4D2FF", "#D2D200",
];

/// What belongs to no series of its own.
pub const OTHERS: &str = "#BBBBBB";
/// A cell without a value.
pub(crate) const MISSING: &str = "#EDEEF0";

/// Red, green and blue from 0 to 255.
pub type Rgb = [u8; 3];

/// Ends and bends of the scale of values in OKLCH: lightness, chroma, hue in degrees. From pale yellow through green and
/// blue to a dark violet, and darker all the way, so that it stays a scale in print without color.
const BENDS: [[f64; 3]; 5] =
    [[0.975, 0.035, 105.0], [0.86, 0.105, 140.0], [0.69, 0.115, 200.0], [0.47, 0.135, 258.0], [0.25, 0.105, 290.0]];
const STEPS: usize = 256;

/// The color of a share from 0 (pale) to 1 (dark). Equal steps of the share are equal distances in OKLab.
pub fn value(share: f64) -> Rgb {
    static TABLE: OnceLock<Vec<Rgb>> = OnceLock::new();
    let table = TABLE.get_or_init(|| even(2048).into_iter().map(to_rgb).collect());
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    table[(share * (STEPS - 1) as f64).round() as usize]
}

/// `#rrggbb`.
pub(crate) fn hex([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Whether light text is read better on a color than dark text.
pub(crate) fn is_dark(color: Rgb) -> bool {
    // Relative luminance, WCAG 2.2; both texts have the same contrast at 0.18.
    let linear = color.map(|channel| {
        let value = f64::from(channel) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] < 0.2
}

/// The scale in OKLab at [`STEPS`] places that are equally far from each other along it.
fn even(samples: usize) -> Vec<[f64; 3]> {
    let path: Vec<[f64; 3]> = (0..samples).map(|at| bent(at as f64 / (samples - 1) as f64)).collect();
    let mut lengths = vec![0.0];
    for pair in path.windows(2) {
        lengths.push(lengths[lengths.len() - 1] + distance(pair[0], pair[1]));
    }
    let whole = lengths[samples - 1];
    let at = |step: usize| {
        let wanted = whole * step as f64 / (STEPS - 1) as f64;
        path[lengths.partition_point(|&length| length < wanted).min(samples - 1)]
    };
    (0..STEPS).map(at).collect()
}

/// A place on the way along the bends.
fn bent(share: f64) -> [f64; 3] {
    let place = share * (BENDS.len() - 1) as f64;
    let index = (place as usize).min(BENDS.len() - 2);
    let within = place - index as f64;
    let [lightness, chroma, hue] =
        std::array::from_fn(|part| BENDS[index][part] + within * (BENDS[index + 1][part] - BENDS[index][part]));
    [lightness, chroma * hue.to_radians().cos(), chroma * hue.to_radians().sin()]
}

fn distance(one: [f64; 3], other: [f64; 3]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// From OKLab to sRGB (Ottosson 2020, *A perceptual color space for image processing*).
fn to_rgb([lightness, a, b]: [f64; 3]) -> Rgb {
    let long = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let medium = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let short = (lightness - 0.089_484_177_5 * a - 1.291_485_548 * b).powi(3);
    let linear = [
        4.076_741_662_1 * long - 3.307_711_591_3 * medium + 0.230_969_929_2 * short,
        -1.268_438_004_6 * long + 2.609_757_401_1 * medium - 0.341_319_396_5 * short,
        -0.004_196_086_3 * long - 0.703_418_614_7 * medium + 1.707_614_701 * short,
    ];
    linear.map(|value| {
        let value = value.clamp(0.0, 1.0);
        let encoded = if value <= 0.003_130_8 { 12.92 * value } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 };
        (encoded * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From sRGB to OKLab, the inverse of the above (the same source).
    fn to_lab(color: Rgb) -> [f64; 3] {
        let [red, green, blue] = color.map(|channel| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        let long = (0.412_221_470_8 * red + 0.536_332_536_3 * green + 0.051_445_992_9 * blue).cbrt();
        let medium = (0.211_903_498_2 * red + 0.680_699_545_1 * green + 0.107_396_956_6 * blue).cbrt();
        let short = (0.088_302_461_9 * red + 0.281_718_837_6 * green + 0.629_978_700_5 * blue).cbrt();
        [
            0.210_454_255_3 * long + 0.793_617_785 * medium - 0.004_072_046_8 * short,
            1.977_998_495_1 * long - 2.428_592_205 * medium + 0.450_593_709_9 * short,
            0.025_904_037_1 * long + 0.782_771_766_2 * medium - 0.808_675_766 * short,
        ]
    }

    #[test]
    fn equal_steps_of_a_value_look_equal_and_get_darker() {
        let colors: Vec<[f64; 3]> = (0..=16).map(|step| to_lab(value(f64::from(step) / 16.0))).collect();
        let steps: Vec<f64> = colors.windows(2).map(|pair| distance(pair[0], pair[1])).collect();
        let (least, most) = (steps.iter().copied().fold(1.0, f64::min), steps.iter().copied().fold(0.0, f64::max));
        // Colors have 8 bits, and around a bend the straight way is shorter than the one along the scale.
        assert!(most / least < 1.2, "{least} to {most}");
        assert!(colors.windows(2).all(|pair| pair[1][0] < pair[0][0]));
        // The whole range is used: from nearly white to nearly black.
        assert!(colors[0][0] > 0.95 && colors[16][0] < 0.27);
    }

    #[test]
    fn text_can_be_read_on_every_color() {
        let luminance = |color: Rgb| to_lab(color)[0].powi(3);
        for step in 0..=100 {
            let color = value(f64::from(step) / 100.0);
            let (light, dark) = if is_dark(color) { (1.0, luminance(color)) } else { (luminance(color), 0.015) };
            // Large text needs 3 : 1 (WCAG 2.2); luminance is about the cube of OKLab's lightness.
            assert!((light + 0.05) / (dark + 0.05) > 3.4, "{color:?}");
        }
    }

    #[test]
    fn series_stay_apart() {
        for (index, one) in SERIES.iter().enumerate() {
            let channels = |hex: &str| [1, 3, 5].map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            for other in &SERIES[..index] {
                assert!(distance(to_lab(channels(one)), to_lab(channels(other))) > 0.08, "{one} {other}");
            }
        }
    }
}
