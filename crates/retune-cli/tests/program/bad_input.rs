//! Data as it comes from strangers: damaged images, names of every kind, folders that cannot be read, too many files.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Workplace, fit, model};
use serde_json::Value;

/// Every way in which an image file is spoilt, with what a message says of it.
fn spoilt(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut bomb = vec![0; 54];
    bomb[..2].copy_from_slice(b"BM");
    bomb[10] = 54;
    bomb[14] = 40;
    bomb[18..26].copy_from_slice(&[0, 0x80, 0, 0, 0, 0x80, 0, 0]);
    (bomb[26], bomb[28]) = (1, 24);
    vec![
        ("empty.png", Vec::new()),
        ("cut.png", whole[..whole.len() / 2].to_vec()),
        ("text.jpg", b"path,label".to_vec()),
        ("bomb.bmp", bomb),
        ("panic.jpg", include_bytes!("../../../retune-pixels/tests/fixtures/found/decoder-panic.jpg").to_vec()),
    ]
}

/// It is found before training. If it is spoilt later, training is not lost.
#[test]
fn a_bad_image_of_a_further_set_is_repaired_and_the_run_goes_on() {
    let here = Workplace::new();
    let whole = here.file("shifted/red/00.png");
    fs::write(here.path("shifted/red/00.png"), "spoilt").unwrap();
    // A further set is evaluated last, and its images are read first.
    let line = fit("--method ft --eval shifted=shifted --no-report -q --out run");
    let message = here.refuses(&line);
    assert!(message.contains("00.png"), "{message}");
    assert!(message.ends_with("; repair it, or leave out such images with --skip-bad"), "{message}");
    fs::write(here.path("shifted/red/00.png"), &whole).unwrap();
    here.succeeds(&line);

    // Spoilt after training.
    fs::remove_file(here.path("run/summary.json")).unwrap();
    fs::write(here.path("shifted/red/00.png"), "spoilt").unwrap();
    let output = here.run("fit --resume run -q");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(
        message.contains("00.png") && message.contains("; repair it, then run `retune fit --resume run`"),
        "{message}"
    );
    fs::write(here.path("shifted/red/00.png"), &whole).unwrap();
    here.succeeds("fit --resume run -q");
    here.succeeds("verify run -q");

    fs::write(here.path("data/red/00.png"), "spoilt").unwrap();
    let message = here.refuses(&fit("--method ft -q --out another"));
    assert!(message.ends_with("; repair it, or leave out such images with --skip-bad"), "{message}");
}

#[test]
fn a_bad_image_stops_by_name_or_is_skipped_and_listed() {
    let here = Workplace::new();
    let whole = here.file("data/red/00.png");
    here.succeeds(&fit("--method ft -q --out clean"));
    for (name, bytes) in spoilt(&whole) {
        fs::write(here.path("data/red").join(name), bytes).unwrap();
        let path = here.path("data/red").join(name);
        for line in [
            fit("--method ft -q --out new"),
            format!("features --model {} --data data --out f.npz", model()),
            format!("lr-find --model {} --data data --steps 3", model()),
            "eval --model clean --data data".to_owned(),
        ] {
            assert!(here.refuses(&line).contains(name), "{line}");
        }
        fs::remove_file(path).unwrap();
    }
    for (name, bytes) in spoilt(&whole) {
        fs::write(here.path("data/red").join(name), bytes).unwrap();
    }
    let output = here.run(&fit("--method ft --skip-bad --out skipping"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    for (name, _) in spoilt(&whole) {
        let lines = told.lines().filter(|line| line.starts_with("left out of ") && line.contains(name));
        assert_eq!(lines.count(), 1, "{name}: {told}");
    }
    let list: Value = serde_json::from_slice(&here.file("skipping/left_out.json")).unwrap();
    let listed: usize = list.as_object().unwrap().values().map(|images| images.as_array().unwrap().len()).sum();
    assert_eq!(listed, 5);
    here.succeeds("verify skipping -q");
    for line in [
        format!("features --model {} --data data --skip-bad --out f.npz", model()),
        format!("lr-find --model {} --data data --skip-bad --steps 3", model()),
        "eval --model clean --data data --skip-bad".to_owned(),
        format!("compare --model {} --data data --skip-bad --methods lp --out both -q", model()),
    ] {
        here.succeeds(&line);
    }
    let umap = "umap --model clean --data data -q --out u.csv";
    assert!(here.refuses(umap).contains("cannot decode"));
    here.succeeds(&format!("{umap} --skip-bad"));
    assert_eq!(String::from_utf8(here.file("u.csv")).unwrap().lines().count(), 1 + 48);
    assert!(here.refuses("predict --model clean data").contains("cannot decode"));
    let predicted = here.json("predict --model clean data --skip-bad --json -q");
    assert_eq!(predicted.as_array().unwrap().len(), 48);

    // What a manifest lists and is not there is as bad as what cannot be decoded.
    let listed = |at: usize| format!("data/{class}/{:02}.png,{class}\n", at / 2, class = ["green", "red"][at % 2]);
    let lines: String = (0..24).map(listed).collect();
    fs::write(here.path("list.csv"), format!("path,label\n{lines}data/red/gone.png,red\n")).unwrap();
    let line = |out: &str| fit(&format!("--method ft --out {out}")).replace("--data data", "--data list.csv");
    let message = here.refuses(&line("new"));
    assert!(message.contains("list.csv, line 26: ") && message.contains("gone.png"), "{message}");
    let output = here.run(&format!("{} --skip-bad", line("listed")));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("left out of ") && told.contains("gone.png"), "{told}");
    assert!(String::from_utf8(here.file("listed/left_out.json")).unwrap().contains("data/red/gone.png"));
    here.succeeds("verify listed -q");
    here.succeeds(&format!("features --model {} --data list.csv --skip-bad -q --out listed.npz", model()));

    // Nothing left of a set is no data.
    fs::create_dir_all(here.path("hopeless/red")).unwrap();
    fs::write(here.path("hopeless/red/a.png"), "x").unwrap();
    let message = here.refuses(&fit("--method ft --skip-bad --eval other=hopeless --out new"));
    assert!(message.contains("no image of 'other'") && message.contains("a.png"), "{message}");
    let message = here.refuses(&format!("features --model {} --data hopeless --skip-bad --out h.npz", model()));
    assert!(message.contains("no image in hopeless can be read") && message.contains("a.png"), "{message}");
}

/// Names that break what is not careful, as files, as classes, and in manifests.
#[test]
fn names_of_every_kind_are_taken_as_they_are() {
    let names = [
        "with space",
        "with\"quotes\" and 'more'",
        "comma, and; semicolon",
        "new\nline",
        "tab\tand\u{1b}[31mcolor",
        "<b>&amp;",
        "-q",
        "größe 大きさ",
        "%s{}$HOME`x`",
    ];
    let here = Workplace::new();
    let mut list = "path,label\n".to_owned();
    for (number, name) in names.into_iter().enumerate() {
        here.images(&format!("odd/{name}"), if number % 2 == 0 { "green" } else { "red" }, 4, 200);
        fs::rename(here.path("odd").join(name).join("03.png"), here.path("odd").join(name).join(format!("{name}.png")))
            .unwrap();
        let quoted = name.replace('"', "\"\"");
        for image in ["00", "01", "02", &quoted] {
            list.push_str(&format!("\"odd/{quoted}/{image}.png\",\"{quoted}\"\n"));
        }
    }
    fs::write(here.path("odd.csv"), list).unwrap();
    let mut sorted = names.map(str::to_owned).to_vec();
    sorted.sort();
    for (data, out) in [("odd", "folders"), ("odd.csv", "manifest")] {
        let line = format!("fit --model {} --data {data} --method lp --json -q --out {out}", model());
        let summary = here.json(&line);
        assert_eq!(summary["classes"], serde_json::json!(sorted), "{data}");
        here.succeeds(&format!("verify {out} -q"));
    }
    let predictions = here.json("predict --model folders odd --json -q");
    assert_eq!(predictions.as_array().unwrap().len(), 4 * names.len());
    // What a terminal would obey, and what would break a table, is shown and not done.
    let table = here.succeeds("predict --model folders odd --top 1 -q");
    assert!(!table.contains('\u{1b}') && table.contains("\\u{1b}"), "{table}");
    assert_eq!(table.lines().count(), 1 + 4 * names.len(), "{table}");
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_links_in_circles_and_closed_folders() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    let here = Workplace::new();
    let image = here.path("data/red/00.png");
    // A file's name may be any bytes.
    fs::copy(&image, here.path("data/red").join(OsStr::from_bytes(b"odd\xff\xfe.png"))).unwrap();
    // Links: to a file that is not there, to itself, to the folder above, to an image.
    symlink("absent.png", here.path("data/red/broken.png")).unwrap();
    symlink("itself.png", here.path("data/red/itself.png")).unwrap();
    symlink("..", here.path("data/red/up")).unwrap();
    symlink(&image, here.path("data/green/linked.png")).unwrap();
    // What is no file, called like an image.
    fs::create_dir(here.path("data/red/folder.png")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(here.path("data/red/pipe.png")).status();
    assert!(pipe.is_ok_and(|status| status.success()));
    let told = here.run(&fit("--method lp --out run"));
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    here.succeeds("verify run -q");

    // A class folder's name must be text, because it becomes one.
    let odd = here.path("data").join(OsStr::from_bytes(b"class\xff"));
    fs::create_dir(&odd).unwrap();
    fs::copy(&image, odd.join("a.png")).unwrap();
    assert!(here.refuses(&fit("--method lp --out new")).contains("not valid UTF-8"));
    fs::remove_dir_all(&odd).unwrap();

    let closed = here.path("data/closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // Who may do everything reads closed folders too.
    if fs::read_dir(&closed).is_err() {
        assert!(here.refuses(&fit("--method lp --out new")).contains("data/closed"));
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_class_with_one_image_trains_and_says_nothing_false() {
    let here = Workplace::new();
    here.images("data/rare", "red", 1, 90);
    let summary = here.json(&fit("--method ft --json -q --out run"));
    assert_eq!(summary["classes"], serde_json::json!(["green", "rare", "red"]));
    // Its image is trained on, so validation has none of it.
    assert_eq!(summary["training_images"].as_u64().unwrap() + summary["splits"]["val"]["n"].as_u64().unwrap(), 49);
}

#[test]
fn images_that_are_in_two_splits_are_named() {
    let here = Workplace::new();
    for split in ["train", "val", "test"] {
        for class in ["green", "red"] {
            let brightness = 120 + 20 * split.len() as u8;
            here.images(&format!("split/{split}/{class}"), class, 4, brightness);
        }
    }
    let image = here.path("split/train/red/01.png");
    fs::copy(&image, here.path("split/val/red/copy in val.png")).unwrap();
    fs::copy(&image, here.path("split/test/green/copy in test.png")).unwrap();
    let line = format!("fit --model {} --data split --method lp --out run", model());
    let told = String::from_utf8(here.run(&line).stderr).unwrap();
    for (set, copy) in [("val", "copy in val.png"), ("test", "copy in test.png")] {
        let warning = told.lines().find(|line| line.contains(&format!("images of '{set}'"))).unwrap_or(&told);
        assert!(warning.contains("warning: 1 of the ") && warning.contains(copy), "{warning}");
    }
}

#[test]
fn a_hundred_thousand_files_in_one_folder_are_listed_soon() {
    let here = Workplace::new();
    let (first, folder) = (here.path("data/red/00.png"), here.path("data/red"));
    for number in 0..100_000 {
        // Many names of one file take no room.
        fs::hard_link(&first, folder.join(format!("again-{number}.png"))).unwrap_or_else(|_| {
            fs::copy(&first, folder.join(format!("again-{number}.png"))).unwrap();
        });
    }
    let started = Instant::now();
    let source = retune::sources::DataSource::open(here.path("data")).unwrap();
    assert_eq!(source.all().len(), 100_048);
    // It takes half a second on a busy machine; a quadratic listing would take hours.
    assert!(started.elapsed() < Duration::from_secs(30));
}

/// Weights never run anything, and take no more room than the file has.
#[test]
fn weights_that_lie_are_refused_with_their_name() {
    let here = Workplace::new();
    let folder = here.path("liar");
    fs::create_dir(&folder).unwrap();
    let fixture = Path::new(&model()).to_owned();
    let config = fs::read_to_string(fixture.join("config.json")).unwrap();
    fs::write(folder.join("config.json"), &config).unwrap();

    // A pickle that would call a function: os.system("touch ran").
    fs::write(folder.join("pytorch_model.bin"), b"cos\nsystem\n(S'touch ran'\ntR.").unwrap();
    assert!(here.refuses("predict --model liar data/red/00.png").contains("pytorch_model.bin"));
    assert!(!here.path("ran").exists());
    fs::remove_file(folder.join("pytorch_model.bin")).unwrap();

    // A header that promises more than the file holds, and one that is longer than the file.
    let header = br#"{"conv1.weight":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.resize(100_000, 0);
    fs::write(folder.join("model.safetensors"), &bytes).unwrap();
    assert!(here.refuses("predict --model liar data/red/00.png").contains("model.safetensors"));
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(folder.join("model.safetensors"), &bytes).unwrap();
    assert!(here.refuses("predict --model liar data/red/00.png").contains("model.safetensors"));

    // A configuration that describes more weights than the file could hold.
    fs::copy(fixture.join("model.safetensors"), folder.join("model.safetensors")).unwrap();
    let mut large: Value = serde_json::from_str(&config).unwrap();
    large["model_args"]["channels"] = serde_json::json!([4096, 4096, 4096, 4096]);
    fs::write(folder.join("config.json"), large.to_string()).unwrap();
    let started = Instant::now();
    let message = here.refuses("predict --model liar data/red/00.png");
    assert!(message.contains("too few for the") && started.elapsed() < Duration::from_secs(5), "{message}");
}
