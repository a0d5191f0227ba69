//! A map and its page.

use std::path::Path;

use indicatif::HumanCount;
use retune::analysis::umap::UmapOptions;
use retune::report::findings::Findings;
use retune::report::findings::map::Placed;
use retune::report::page::{ColorBy, Map, Page, Section};
use retune::wording::{counted, listed};

use super::{Images, UmapArguments};
use crate::output::Subject;

impl Images {
    /// The map, without thumbnails.
    pub fn map(&self, layout: &[[f32; 2]], color: &str) -> Map {
        let classes = self.classes();
        let class = |name: &String| classes.binary_search(&name).unwrap_or_default();
        // What a set is called: the file that the images came from, else the split.
        let set_of_each = if self.files.is_empty() { &self.splits } else { &self.files };
        let mut sets = set_of_each.clone();
        sets.dedup();
        let set = |name: &String| sets.iter().position(|set| set == name).unwrap_or_default();
        Map {
            method: "UMAP (McInnes et al. 2018). Distances between distant clusters mean little.".into(),
            x: layout.iter().map(|point| point[0]).collect(),
            y: layout.iter().map(|point| point[1]).collect(),
            label: self.labels.iter().map(|label| label.as_ref().map_or(-1, |label| class(label) as i64)).collect(),
            set: set_of_each.iter().map(set).collect(),
            predicted: self.predictions.iter().map(class).collect(),
            path: self.paths.clone(),
            sets: sets.clone(),
            classes: classes.iter().map(|&name| name.clone()).collect(),
            colored_by: match color {
                "file" | "split" => ColorBy::Set,
                "prediction" => ColorBy::Prediction,
                "correctness" => ColorBy::Correctness,
                _ => ColorBy::Class,
            },
            ..Map::default()
        }
    }

    /// The interactive map.
    pub fn page(
        &self,
        title: String,
        map: Map,
        options: &UmapOptions,
        arguments: &UmapArguments,
        findings: &Findings,
    ) -> Page {
        let mut page = Page::new(title);
        (page.verdict, page.next) = (findings.sentences.clone(), findings.next.clone());
        page.facts = facts(arguments);
        page.facts.extend([
            ("Features of each image".into(), HumanCount(self.width as u64).to_string()),
            ("Neighbors".into(), options.neighbors.to_string()),
            ("Minimum distance".into(), options.minimum_distance.to_string()),
            ("Metric".into(), options.metric.name().to_owned()),
            ("Seed".into(), options.seed.to_string()),
        ]);
        // A sheet that cannot be made leaves a map without pictures.
        let sheet = self.thumbnails.as_ref().and_then(|tiles| page.add_sheet(tiles.sheet().ok()?.into()));
        let map = Map { sheet, ..map };
        let note = "Each point is an image: close points look alike to the model.";
        let hint = format!("{} Click a class in the legend to hide its images.", Map::HINT);
        page.sections.push(Section::new("Map", note).hinted(hint).wide().with("", map));
        page
    }
}

/// What the page is called.
pub fn title(images: usize, placed: Option<&Placed>, arguments: &UmapArguments) -> String {
    let origin = origin(arguments);
    match placed {
        Some(placed) => format!("{} on the map of {}: {origin}", counted(placed.images, "image"), placed.map),
        None => format!("Map of {}: {origin}", counted(images, "image")),
    }
}

/// Where the features are from, in a few words.
fn origin(arguments: &UmapArguments) -> String {
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    match &arguments.data {
        Some(data) => Subject::new(arguments.model.typed(), data).names(),
        None => listed(&arguments.features.iter().map(|path| name(path)).collect::<Vec<_>>()),
    }
}

/// Where the features are from, in full.
fn facts(arguments: &UmapArguments) -> Vec<(String, String)> {
    match &arguments.data {
        Some(data) => {
            let layer = ("Layer".to_owned(), arguments.layer.clone());
            Subject::new(arguments.model.typed(), data).facts().into_iter().chain([layer]).collect()
        }
        None => {
            let files: Vec<String> = arguments.features.iter().map(|path| path.display().to_string()).collect();
            vec![("Features".into(), files.join(", "))]
        }
    }
}
