//! A place to run the program in, with tiny images of two colors.
#![allow(dead_code, reason = "the test of embedded commands uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

/// A model of five classes with a few thousand parameters.
pub fn model() -> String {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune/tests/fixtures/models");
    models.join("resnet_basic").display().to_string()
}

/// A folder with data, in which the program runs.
pub struct Workplace {
    pub folder: TempDir,
}

impl Workplace {
    /// `data/` with 24 images of each class, and `shifted/` with 6 of them, darker.
    pub fn new() -> Self {
        let workplace = Self { folder: tempfile::tempdir().unwrap() };
        for class in ["green", "red"] {
            workplace.images(&format!("data/{class}"), class, 24, 200);
            workplace.images(&format!("shifted/{class}"), class, 6, 120);
        }
        workplace
    }

    /// Copies a folder with everything in it.
    pub fn copy(&self, from: &str, to: &str) {
        fs::create_dir_all(self.path(to)).unwrap();
        for entry in fs::read_dir(self.path(from)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => self.copy(&format!("{from}/{name}"), &format!("{to}/{name}")),
                false => drop(fs::copy(entry.path(), self.path(to).join(name)).unwrap()),
            }
        }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Noisy images in which one channel is brighter than the others.
    pub fn images(&self, folder: &str, class: &str, count: u32, brightness: u8) {
        fs::create_dir_all(self.path(folder)).unwrap();
        for number in 0..count {
            let image = RgbImage::from_fn(32, 32, |x, y| {
                let noise = (x * 7 + y * 13 + number * 29) % 50;
                let mut channels = [noise as u8, noise as u8, 30];
                channels[usize::from(class == "green")] = brightness - noise as u8;
                Rgb(channels)
            });
            image.save(self.path(folder).join(format!("{number:02}.png"))).unwrap();
        }
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retune"));
        command.args(line.split_whitespace()).current_dir(self.folder.path());
        // A model's name must never reach a network from a test.
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", self.path("cache"));
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Standard output of a run that must succeed.
    pub fn succeeds(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.succeeds(line)).unwrap()
    }

    /// The one sentence on standard error of a run that must end with status 2, print no result and leave no file.
    pub fn refuses(&self, line: &str) -> String {
        let before = self.listing();
        let output = self.run(line);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {message}");
        assert!(output.stdout.is_empty(), "{line}");
        let errors: Vec<&str> = message.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{line}: {message}");
        assert_eq!(message.lines().last(), Some(errors[0]), "{line}: {message}");
        assert_eq!(self.listing(), before, "{line}");
        errors[0].to_owned()
    }

    /// Every file and folder but the cache.
    pub fn listing(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                found.push(path);
            }
        }
        found.sort();
        found
    }

    /// What Ctrl-C does.
    pub fn interrupt(&self, child: &std::process::Child) {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Sends a signal by its name, as `kill` does.
    pub fn signal(&self, child: &std::process::Child, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The rows of a run's metrics without what a clock says.
    pub fn rows(&self, run: &str) -> Vec<Value> {
        let text = String::from_utf8(self.file(&format!("{run}/metrics.jsonl"))).unwrap();
        let row = |line: &str| {
            let mut row: Value = serde_json::from_str(line).unwrap();
            row.as_object_mut().unwrap().remove("seconds");
            row
        };
        text.lines().map(row).collect()
    }

    /// Whether two runs ended with the same model, to the byte, and the same metrics.
    pub fn assert_same(&self, one: &str, other: &str) {
        let model = |run: &str| self.file(&format!("{run}/model/model.safetensors"));
        assert!(model(one) == model(other), "{one} and {other} have different models");
        assert_eq!(self.rows(one), self.rows(other), "{one} and {other}");
    }

    pub fn file(&self, relative: &str) -> Vec<u8> {
        fs::read(self.path(relative)).unwrap()
    }
}

/// A fixture model of another family, by its folder.
pub fn model_of(name: &str) -> String {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune/tests/fixtures/models");
    models.join(name).display().to_string()
}

pub fn fit(options: &str) -> String {
    format!("fit --model {} --data data --epochs 2 --lr 1e-3 {options}", model())
}

/// Waits until a file is there while the program runs.
pub fn wait_for(path: &Path, running: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} did not come", path.display());
        assert!(running.try_wait().unwrap().is_none(), "the run ended by itself");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts a command whose output is kept.
pub fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}
