//! Draws a figure from its description: `cargo run --release -p retune-figures --example draw -- FIGURE.json OUT.png`

use std::error::Error;
use std::path::PathBuf;

use retune_figures::{Figure, Style};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else { return Err("name two files".into()) };
    let figure: Figure = serde_json::from_str(&std::fs::read_to_string(from)?)?;
    std::fs::write(&to, figure.draw(&Style::default()).encode_for(&to)?)?;
    Ok(())
}
