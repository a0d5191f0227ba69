//! How models see images: the same for two that are compared, at sizes that are no squares, at a white level.

use crate::common::{Workplace, fit, model, model_of};
use image::{ImageBuffer, Luma};
use serde_json::{Value, json};

#[test]
fn two_models_are_compared_on_the_same_pixels() {
    let here = Workplace::new();
    here.succeeds(&fit("--method ft --size 24 --interpolation box --out run"));
    let cka = |rest: &str| format!("cka --model run --against {} --data data --bootstrap 0 {rest}", model());
    let found = here.json(&cka("--layer input,pooled --json --out c.html"));
    assert_eq!(
        (&found["preprocessing"]["height"], &found["preprocessing"]["interpolation"]),
        (&24.into(), &"box".into())
    );
    // The same pixels are alike to rounding.
    assert!((found["matrix"][0][0].as_f64().unwrap() - 1.0).abs() < 1e-9, "{found}");
    let text = here.succeeds(&cka("--layer pooled"));
    assert!(text.contains("both models see images at 24×24, box, crop "), "{text}");
    assert!(String::from_utf8(here.file("c.html")).unwrap().contains("24×24, box, crop "));

    // What a user got by naming the run's preprocessing by hand.
    let eval = |rest: &str| here.json(&format!("eval --model run --against {} --data data --json {rest}", model()));
    let found = eval("");
    assert_eq!(found["feature_change"], eval("--size 24 --interpolation box")["feature_change"]);
    assert_eq!(found["preprocessing"]["width"], 24);
    // Changes that a user makes reach both models.
    assert_eq!(eval("--size 16")["preprocessing"]["width"], 16);
    let text = here.succeeds("eval --model run --against run --data data");
    assert!(
        text.contains("mean distance of the features of all: 0.000")
            && text.contains("both models see images at 24×24"),
        "{text}"
    );
    assert!(here.json("eval --model run --data data --json").get("preprocessing").is_none());
}

#[test]
fn runs_that_see_images_differently_are_not_mixed_unseen() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --out a"));
    here.succeeds(&fit("--method lp --size 24x16 --out b"));
    let message = here.refuses("soup a b --out soup");
    let own = here.json(&format!("layers --model {} --json", model()))["input"].clone();
    let (height, width) = (own[1].as_u64().unwrap(), own[2].as_u64().unwrap());
    assert!(message.contains(&format!("images differ in size: {height}×{width} and 24×16")), "{message}");

    let output = here.run("report a b --out page.html");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("note: the runs see images differently: a (seed 0) at"), "{said}");
    assert!(String::from_utf8(here.file("page.html")).unwrap().contains("The runs see images differently"));
    let output = here.run("report a --out page.html");
    assert!(!String::from_utf8(output.stderr).unwrap().contains("differently"));

    // Both ends of a line see what the run sees, and it is said.
    let output = here.run("wise-ft b --from a --alphas 0,1 --json");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("note: images differ in size") && said.contains("as the run: 24×16"), "{said}");
    let points: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(points[1]["splits"]["val"]["n"].as_u64() > Some(0), "{points}");
}

#[test]
fn images_need_not_be_squares() {
    let here = Workplace::new();
    for (name, sizes) in [("resnet_basic", "32x64"), ("vit", "32x64"), ("convnext", "64x32")] {
        let fit = format!("fit --model {} --data data --epochs 1 --lr 1e-3 --method ft", model_of(name));
        here.succeeds(&format!("{fit} --size {sizes} --augment standard --out {name}"));
        let options = String::from_utf8(here.file(&format!("{name}/run.toml"))).unwrap();
        assert!(options.contains(&format!("size = \"{sizes}\"")), "{options}");
        let (height, width) = sizes.split_once('x').unwrap();
        let size = [3, height.parse().unwrap(), width.parse::<u32>().unwrap()];
        let config: Value = serde_json::from_slice(&here.file(&format!("{name}/model/config.json"))).unwrap();
        assert_eq!(config["pretrained_cfg"]["input_size"], json!(size));
        assert_eq!(here.json(&format!("layers --model {name} --json"))["input"], json!(size));
        here.succeeds(&format!("predict --model {name} data/red/00.png"));
        // From a grid that is no square to another, and to the square of as many patches.
        here.succeeds(&format!("eval --model {name} --data data --size {width}x{height}"));
        here.succeeds(&format!("eval --model {name} --data data --size 64"));
        here.succeeds(&format!("verify {name}"));
    }
    // Squares are written as ever.
    here.succeeds(&fit("--method lp --size 24x24 --out square"));
    assert!(String::from_utf8(here.file("square/run.toml")).unwrap().contains("\nsize = 24\n"));
    let sizes = "--sizes 16x32,24 --interpolations bilinear --bootstrap 0 --json";
    let audit = here.json(&format!("audit --model square --data data {sizes}"));
    assert!(audit["rows"].as_array().unwrap().iter().any(|row| row["size"] == json!([16, 32])), "{audit}");
}

#[test]
fn sizes_that_a_model_cannot_take_are_refused() {
    let here = Workplace::new();
    for (name, size, reason) in [
        ("vit", "4", "sides that are multiples of 8"),
        ("vit", "32x4", "sides that are multiples of 8"),
        ("vit", "36x32", "sides that are multiples of 8"),
        ("resnet_basic", "4", "at least 8×8"),
        ("resnet_basic", "64x7", "at least 8×8"),
        ("efficientnet", "1", "at least 8×8"),
        ("convnext", "1", "at least "),
        ("resnet_basic", "0", "must be a side or HEIGHTxWIDTH"),
        ("resnet_basic", "64x", "must be a side or HEIGHTxWIDTH"),
        ("resnet_basic", "32x32x3", "must be a side or HEIGHTxWIDTH"),
    ] {
        let line = format!("predict --model {} data/red/00.png --size {size}", model_of(name));
        let message = here.refuses(&line);
        assert!(message.contains(reason), "{name} {size}: {message}");
    }
    // The smallest that is not refused works.
    here.succeeds(&format!("predict --model {} data/red/00.png --size 8", model()));
    here.succeeds(&format!("predict --model {} data/red/00.png --size 8x16", model_of("vit")));
}

/// The same gray pictures twice: `gray/` in 8 bits, `deep/` with `scale` times their values in 16.
fn gray_twice(here: &Workplace, scale: u16) {
    for (class, down) in [("across", false), ("down", true)] {
        for folder in ["gray", "deep"] {
            std::fs::create_dir_all(here.path(&format!("{folder}/{class}"))).unwrap();
        }
        for number in 0..12u32 {
            let value = |x: u32, y: u32| {
                let stripe = if down { x } else { y };
                (100 + 80 * (stripe / 4 % 2) + (x * 7 + y * 13 + number * 29) % 50) as u16
            };
            let gray = ImageBuffer::from_fn(32, 32, |x, y| Luma([value(x, y) as u8]));
            gray.save(here.path(&format!("gray/{class}/{number:02}.png"))).unwrap();
            let deep = ImageBuffer::from_fn(32, 32, |x, y| Luma([value(x, y) * scale]));
            deep.save(here.path(&format!("deep/{class}/{number:02}.png"))).unwrap();
        }
    }
}

#[test]
fn with_a_white_level_16_bit_images_are_as_bright_as_8_bit_images() {
    let here = Workplace::new();
    // 255 × 16 = 4080: values of 8 bits become the same values again.
    gray_twice(&here, 16);
    let fit = |rest: &str| {
        let model = model();
        here.run(&format!("fit --model {model} --method ft --epochs 1 --lr 1e-3 --no-report {rest}"))
    };
    let said = |output: &std::process::Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let note = "note: 16-bit images use at most 12 bits (largest value ";
    let dark = said(&fit("--data deep --out dark"));
    assert!(dark.contains(note) && dark.contains("set the white level to 4095 (--white 4095)"), "{dark}");
    assert_eq!(dark.matches(note).count(), 1, "{dark}");
    assert!(!said(&fit("--data gray --out gray8")).contains("16-bit"));
    assert!(!said(&fit("--data deep --white 4080 --out deep16")).contains("16-bit"));
    here.assert_same("gray8", "deep16");

    let config: Value = serde_json::from_slice(&here.file("deep16/model/config.json")).unwrap();
    assert_eq!(config["retune"], json!({ "white": 4080 }));
    assert!(String::from_utf8(here.file("deep16/run.toml")).unwrap().contains("\nwhite = 4080\n"));
    assert!(!String::from_utf8(here.file("gray8/run.toml")).unwrap().contains("white"));
    // The model keeps its white level; images of 8 bits are as they were.
    let loss = |line: &str| here.json(&format!("eval {line} --json"))["splits"]["all"]["loss"].clone();
    assert_eq!(loss("--model deep16 --data deep"), loss("--model gray8 --data gray"));
    assert_eq!(loss("--model deep16 --data gray"), loss("--model gray8 --data gray"));
    let told = here.run("eval --model gray8 --data deep");
    assert!(said(&told).contains(note));
    for white in ["0", "65536", "4095.5", "-1"] {
        let message = here.refuses(&format!("predict --model gray8 gray/down/00.png --white {white}"));
        assert!(message.contains("must be a whole number from 1 to 65535"), "{message}");
    }
}
