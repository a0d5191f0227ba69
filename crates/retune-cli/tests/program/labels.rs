//! Tiny images with several labels.

use std::fs;

use crate::common::Workplace;

/// `photos/` with green, red, both, and neither, 12 of each; the labels of each image in order.
pub fn photos(here: &Workplace) -> Vec<(String, [bool; 2])> {
    let mut images = Vec::new();
    for number in 0..48u32 {
        let [green, red] = [number % 2 == 1, number / 2 % 2 == 1];
        let image = image::RgbImage::from_fn(32, 32, |x, y| {
            let noise = ((x * 7 + y * 13 + number * 29) % 50) as u8;
            let bright = |on: bool| if on { 200 - noise } else { noise };
            image::Rgb([bright(red), bright(green), 30])
        });
        let name = format!("photos/{number:02}.png");
        fs::create_dir_all(here.path("photos")).unwrap();
        image.save(here.path(&name)).unwrap();
        images.push((name, [green, red]));
    }
    images
}

/// A manifest of them.
pub fn list(images: &[(String, [bool; 2])]) -> String {
    let row = |(name, [green, red]): &(String, [bool; 2])| {
        let labels = [green.then_some("green"), red.then_some("red")];
        format!("{name},{}\n", labels.into_iter().flatten().collect::<Vec<_>>().join("|"))
    };
    format!("path,labels\n{}", images.iter().map(row).collect::<String>())
}

/// `photos/` and `list.csv`.
pub fn workplace() -> (Workplace, Vec<(String, [bool; 2])>) {
    let here = Workplace::new();
    let images = photos(&here);
    fs::write(here.path("list.csv"), list(&images)).unwrap();
    (here, images)
}

/// A test set on which no model is perfect: every fifth image has what it lacks.
pub fn disputed(here: &Workplace, images: &[(String, [bool; 2])]) {
    let mut images = images.to_vec();
    images.iter_mut().step_by(5).for_each(|(_, labels)| *labels = labels.map(|has| !has));
    fs::write(here.path("disputed.csv"), list(&images)).unwrap();
}
