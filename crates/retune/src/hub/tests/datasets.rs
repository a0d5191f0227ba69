//! Data sets of the hub of a few lines.

use super::tiny_hub::*;
use super::*;
use crate::sources::{DataSource, SplitName};

/// Two images of each split of a class, as the Parquet fixtures have them.
fn parquet(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet/hub/data").join(name)).unwrap()
}

fn png(red: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(4, 4, image::Rgb([red, 0, 0])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

const TRAIN: [&str; 2] = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];
const TEST: &str = "data/test-00000-of-00001-0123abcd.parquet";

/// A data set of two shards for training and one for testing.
fn sharded() -> Content {
    let mut files = HashMap::from([("README.md", b"---\n---\n".to_vec()), (".gitattributes", Vec::new())]);
    for name in TRAIN.into_iter().chain([TEST]) {
        files.insert(name, parquet(name.strip_prefix("data/").unwrap()));
    }
    Content { files, ..Content::default() }
}

fn fetch(hub: &TinyHub, name: &str) -> Result<CachedDataset, HubError> {
    fetch_offline(hub, name, false)
}

fn fetch_offline(hub: &TinyHub, name: &str, offline: bool) -> Result<CachedDataset, HubError> {
    fetch_dataset(&name.parse()?, &HubOptions { offline, ..hub.options() }, |_| ControlFlow::Continue(()))
}

fn refusal(hub: &TinyHub, name: &str) -> String {
    fetch(hub, name).unwrap_err().to_string()
}

fn snapshot(hub: &TinyHub) -> PathBuf {
    hub.cache.path().join("datasets--some--pictures/snapshots").join(COMMIT)
}

fn blobs(hub: &TinyHub) -> Vec<PathBuf> {
    let folder = hub.cache.path().join("datasets--some--pictures/blobs");
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn parquet_files_arrive_once_and_are_opened_as_any_data() {
    let hub = TinyHub::start(sharded());
    let mut told = Vec::new();
    let name: DatasetName = "hf:some/pictures".parse().unwrap();
    let dataset = fetch_dataset(&name, &hub.options(), |progress| {
        told.push((progress.file.to_owned(), progress.received, progress.total));
        ControlFlow::Continue(())
    });
    let dataset = dataset.unwrap();
    assert_eq!((dataset.directory.clone(), dataset.commit.as_str()), (snapshot(&hub).join("data"), COMMIT));
    let total = TRAIN.into_iter().chain([TEST]).map(|name| sharded().files[name].len() as u64).sum::<u64>();
    assert_eq!(told.last(), Some(&("hf:some/pictures".to_owned(), total, total)));

    let source = DataSource::open(&dataset.directory).unwrap();
    assert_eq!(source.classes, ["zebra", "ant"]);
    assert_eq!(source.split(&SplitName::Train).unwrap().labels().unwrap(), [0, 1, 0, 1, 1, 1, 0]);
    assert_eq!(source.split(&"test".into()).unwrap().len(), 2);
    // Neither the description nor what is hidden.
    assert!(!snapshot(&hub).join("README.md").exists());
    let requests = hub.requests();
    assert_eq!(requests.iter().filter(|request| request.starts_with("HEAD")).count(), 0, "{requests:?}");

    assert_eq!(fetch(&hub, "some/pictures").unwrap(), dataset);
    assert_eq!(fetch(&hub, &format!("hf:some/pictures#{COMMIT}")).unwrap(), dataset);
    assert_eq!(fetch_offline(&hub, "hf:some/pictures", true).unwrap(), dataset);
    assert!(hub.requests().is_empty());
}

#[cfg(unix)]
#[test]
fn the_cache_of_a_data_set_is_laid_out_as_huggingface_hub_lays_it_out() {
    let hub = TinyHub::start(sharded());
    fetch(&hub, "hf:some/pictures").unwrap();
    let folder = hub.cache.path().join("datasets--some--pictures");
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let checksum = checksum(&Content::default(), &sharded().files[TEST]);
    let link = fs::read_link(snapshot(&hub).join(TEST)).unwrap();
    assert_eq!(link, Path::new("../../../blobs").join(checksum));
}

#[test]
fn image_folders_arrive_with_names_of_every_kind() {
    let names = ["train/a cat/1.png", "train/dög/2.png", "test/a cat/100%.png", "README.md", "notes.txt"];
    let files = names.into_iter().enumerate().map(|(number, name)| (name, png(number as u8))).collect();
    let hub = TinyHub::start(Content { files, ..Content::default() });
    let dataset = fetch(&hub, "hf:some/pictures").unwrap();
    assert_eq!(dataset.directory, snapshot(&hub));
    let source = DataSource::open(&dataset.directory).unwrap();
    assert_eq!(source.classes, ["a cat", "dög"]);
    assert_eq!(source.all().len(), 3);
    for (number, name) in names[..3].iter().enumerate() {
        assert_eq!(fs::read(snapshot(&hub).join(name)).unwrap(), png(number as u8));
    }
    assert!(!snapshot(&hub).join("notes.txt").exists());
}

#[test]
fn a_mirror_that_lists_names_alone_is_asked_for_each_file() {
    let hub = TinyHub::start(Content { bare_listing: true, ..sharded() });
    assert_eq!(DataSource::open(fetch(&hub, "hf:some/pictures").unwrap().directory).unwrap().all().len(), 9);
    assert_eq!(hub.requests().iter().filter(|request| request.starts_with("HEAD")).count(), 3);
}

#[test]
fn of_several_configurations_one_is_named() {
    let files = ["small/train-00000-of-00001.parquet", "large/train-00000-of-00001.parquet"].map(|name| {
        let shard = if name.starts_with("small") {
            "validation-00000-of-00001.parquet"
        } else {
            "train-00000-of-00002.parquet"
        };
        (name, parquet(shard))
    });
    let hub = TinyHub::start(Content { files: files.into(), ..Content::default() });
    assert_eq!(
        refusal(&hub, "hf:some/pictures"),
        "some/pictures holds several data sets, large, small; name one, as in hf:some/pictures/large"
    );
    assert!(blobs(&hub).is_empty());
    assert_eq!(refusal(&hub, "hf:some/pictures/tiny"), "some/pictures has no data set tiny; it has large, small");
    // Both may lie in the cache and are told apart all the same.
    for (name, images) in [("large", 5), ("small", 2)] {
        let dataset = fetch(&hub, &format!("hf:some/pictures/{name}")).unwrap();
        assert_eq!(DataSource::open(dataset.directory).unwrap().all().len(), images, "{name}");
    }
}

#[test]
fn what_holds_no_images_says_where_there_may_be_some() {
    let hub = TinyHub::start(Content { files: [("images.zip", vec![1])].into(), ..Content::default() });
    assert_eq!(
        refusal(&hub, "hf:some/pictures"),
        "some/pictures has no Parquet files, images, or tar archives (images.zip is another archive); the hub may \
         keep a Parquet copy, hf:some/pictures#refs/convert/parquet"
    );
}

#[test]
fn a_data_set_that_breaks_off_is_continued() {
    let hub = TinyHub::start(Content { cut_after: Some(200), ..sharded() });
    assert!(matches!(fetch(&hub, "hf:some/pictures"), Err(HubError::Truncated { received: 200, .. })));
    let partial = blobs(&hub).into_iter().filter(|path| path.extension().is_some_and(|end| end == "incomplete"));
    assert!(partial.count() > 0);
    // Offline, the file that is missing is named.
    let error = fetch_offline(&hub, "hf:some/pictures", true).unwrap_err().to_string();
    assert!(
        error.contains(".parquet of hf:some/pictures is not in the cache") && error.contains("HF_HUB_OFFLINE"),
        "{error}"
    );

    hub.change(|content| content.cut_after = None);
    let dataset = fetch(&hub, "hf:some/pictures").unwrap();
    assert_eq!(DataSource::open(&dataset.directory).unwrap().all().len(), 9);
    let ranges = hub.requests.lock().unwrap().iter().filter(|request| request.headers.contains_key("range")).count();
    assert!(ranges > 0);

    fs::remove_file(snapshot(&hub).join(TRAIN[1])).unwrap();
    let error = fetch_offline(&hub, "hf:some/pictures", true).unwrap_err().to_string();
    assert!(error.starts_with("data/train-00001-of-00002.parquet of hf:some/pictures is not in the cache"), "{error}");
    // What another tool has downloaded comes without a list of files; the shards' names tell how many there are.
    fs::remove_dir_all(hub.cache.path().join("datasets--some--pictures/.listings")).unwrap();
    let error = fetch_offline(&hub, "hf:some/pictures", true).unwrap_err().to_string();
    assert!(error.starts_with("data/train-00001-of-00002.parquet of hf:some/pictures is not in the cache"), "{error}");
    fetch(&hub, "hf:some/pictures").unwrap();
    fs::remove_dir_all(hub.cache.path().join("datasets--some--pictures/.listings")).unwrap();
    assert_eq!(fetch_offline(&hub, "hf:some/pictures", true).unwrap(), dataset);
}

#[test]
fn interrupting_a_data_set_keeps_what_has_arrived() {
    let hub = TinyHub::start(sharded());
    let name: DatasetName = "hf:some/pictures".parse().unwrap();
    let stopped = fetch_dataset(&name, &hub.options(), |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(HubError::Interrupted)));
    assert_eq!(DataSource::open(fetch(&hub, "hf:some/pictures").unwrap().directory).unwrap().all().len(), 9);
}

#[test]
fn a_data_set_with_a_wrong_checksum_is_refused() {
    let hub = TinyHub::start(Content { wrong_checksum: true, ..sharded() });
    assert!(matches!(fetch(&hub, "hf:some/pictures"), Err(HubError::Corrupt { .. })));
    assert!(!snapshot(&hub).join(TEST).exists());
    hub.change(|content| content.wrong_checksum = false);
    assert_eq!(DataSource::open(fetch(&hub, "hf:some/pictures").unwrap().directory).unwrap().all().len(), 9);
}

#[test]
fn refusals_of_data_sets_say_what_to_do() {
    let hub = TinyHub::start(Content { token: Some("secret"), ..sharded() });
    let endpoint = hub.endpoint.clone();
    assert_eq!(
        refusal(&hub, "hf:some/pictures"),
        format!(
            "some/pictures is gated; accept its terms at {endpoint}/datasets/some/pictures and set HF_TOKEN to a token of \
             that account"
        )
    );
    let name: DatasetName = "hf:some/pictures".parse().unwrap();
    let options = HubOptions { token: Some("secret".to_owned()), ..hub.options() };
    fetch_dataset(&name, &options, |_| ControlFlow::Continue(())).unwrap();

    hub.change(|content| content.token = None);
    assert_eq!(
        refusal(&hub, "hf:some/pictures#v9"),
        "some/pictures has no revision v9; leave out \"#v9\" to use its main branch"
    );
    hub.change(|content| content.refusal = Some((401, "RepoNotFound")));
    assert_eq!(
        refusal(&hub, "hf:some/paintings"),
        format!(
            "{endpoint} has no data set some/paintings that you may read; check the name, or set HF_TOKEN if it is private"
        )
    );
    hub.change(|content| content.refusal = Some((403, "")));
    let stale = HubOptions { token: Some("stale".to_owned()), ..hub.options() };
    let name: DatasetName = "hf:some/paintings".parse().unwrap();
    let refused = fetch_dataset(&name, &stale, |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(refused, HubError::TokenRefused { status: 403, .. }));
    let offline = fetch_offline(&hub, "hf:some/paintings", true).unwrap_err().to_string();
    assert!(offline.starts_with("hf:some/paintings is not in the cache"), "{offline}");
}

#[test]
fn names_of_data_sets_have_a_configuration_and_a_revision() {
    let name: DatasetName = "hf:some/pictures/small one#refs/convert/parquet".parse().unwrap();
    assert_eq!((name.repository(), name.configuration()), ("some/pictures", Some("small one")));
    assert_eq!(name.revision(), "refs/convert/parquet");
    assert_eq!(name.to_string(), "hf:some/pictures/small one#refs/convert/parquet");
    let name: DatasetName = "hf:some/pictures".parse().unwrap();
    assert_eq!((name.configuration(), name.revision()), (None, "main"));
    for bad in
        ["hf:", "hf:pictures", "hf:some/", "hf:../x", "hf:a/b/", "hf:a/b/../c", "hf:a/b#", "hf:a/b#../c", "hf:a b/c"]
    {
        let error = bad.parse::<DatasetName>().unwrap_err().to_string();
        assert!(error.contains("is not a valid data set name of the hub"), "{error}");
    }
    assert_eq!("hf:timm/tiny.test".parse::<ModelName>().unwrap(), NAME.parse().unwrap());
}
