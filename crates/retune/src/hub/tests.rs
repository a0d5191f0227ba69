//! Against a hub of a few lines ([`tiny_hub`]).

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use super::*;

mod datasets;
mod tiny_hub;

use tiny_hub::*;

#[test]
fn downloads_once_and_then_asks_nothing() {
    let hub = TinyHub::start(Content::tiny());
    let mut seen = Vec::new();
    let model = fetch_model(&NAME.parse().unwrap(), &hub.options(), |progress| {
        seen.push((progress.file.to_owned(), progress.received, progress.total));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(fs::read(&model.config).unwrap(), CONFIG);
    assert_eq!(fs::read(&model.weights).unwrap(), weights());
    assert_eq!(model.weight_format, WeightFormat::Safetensors);
    assert_eq!(model.commit, COMMIT);
    let snapshot = hub.cache.path().join("models--timm--tiny.test/snapshots").join(COMMIT);
    assert_eq!(model.directory, snapshot);
    let total = weights().len() as u64;
    assert_eq!(seen.last(), Some(&("model.safetensors".to_owned(), total, total)));
    let requests = hub.requests();
    assert_eq!(
        requests,
        [
            "HEAD config.json",
            "HEAD model.safetensors",
            "GET config.json",
            "GET model.safetensors",
            "GET model.safetensors"
        ]
    );

    assert_eq!(hub.fetch().unwrap(), model);
    assert_eq!(fetch_with(&format!("hf-hub:{NAME}@{COMMIT}"), &hub.options()).unwrap(), model);
    let offline = HubOptions { offline: true, ..hub.options() };
    assert_eq!(fetch_with(NAME, &offline).unwrap(), model);
    assert!(hub.requests().is_empty());
}

#[test]
fn offline_a_missing_file_is_named() {
    let hub = TinyHub::start(Content::tiny());
    let model = hub.fetch().unwrap();
    let offline = HubOptions { offline: true, ..hub.options() };
    let refusal = || fetch_with(NAME, &offline).unwrap_err().to_string();
    fs::remove_file(&model.weights).unwrap();
    assert!(refusal().starts_with("model.safetensors of timm/tiny.test is not in the cache "), "{}", refusal());
    fs::remove_file(&model.config).unwrap();
    assert!(refusal().starts_with("config.json of timm/tiny.test is not in the cache "), "{}", refusal());
    fs::remove_dir_all(hub.cache.path().join("models--timm--tiny.test")).unwrap();
    assert!(refusal().starts_with("timm/tiny.test is not in the cache "), "{}", refusal());
}

#[cfg(unix)]
#[test]
fn the_cache_is_laid_out_as_huggingface_hub_lays_it_out() {
    let hub = TinyHub::start(Content::tiny());
    let model = hub.fetch().unwrap();
    let folder = hub.cache.path().join("models--timm--tiny.test");
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let link = fs::read_link(&model.config).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(CONFIG_GIT_HASH));
    assert!(hub.partial_bytes().is_empty());
}

#[test]
fn a_transfer_that_breaks_off_is_refused_and_then_continued() {
    let hub = TinyHub::start(Content { cut_after: Some(60_000), ..Content::tiny() });
    let error = hub.fetch().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the download of model.safetensors of timm/tiny.test broke off after 60000 of 100000 bytes; run the command \
         again to continue it"
    );
    assert_eq!(hub.partial_bytes(), [60_000]);
    let offline = HubOptions { offline: true, ..hub.options() };
    assert!(matches!(fetch_with(NAME, &offline), Err(HubError::NotCached { .. })));

    let model = hub.fetch().unwrap();
    assert_eq!(fs::read(&model.weights).unwrap(), weights());
    let requests = hub.requests.lock().unwrap();
    assert_eq!(requests.last().unwrap().headers["range"], "bytes=60000-");
}

#[test]
fn a_server_without_ranges_starts_over() {
    let hub = TinyHub::start(Content { cut_after: Some(60_000), ..Content::tiny() });
    hub.fetch().unwrap_err();
    hub.change(|content| {
        content.cut_after = None;
        content.ignores_ranges = true;
    });
    assert_eq!(fs::read(hub.fetch().unwrap().weights).unwrap(), weights());
}

#[test]
fn a_wrong_checksum_is_refused_and_nothing_of_it_kept() {
    let hub = TinyHub::start(Content { wrong_checksum: true, ..Content::tiny() });
    assert!(matches!(hub.fetch(), Err(HubError::Corrupt { file, .. }) if file == "model.safetensors"));
    assert!(hub.partial_bytes().is_empty());
    hub.change(|content| content.wrong_checksum = false);
    assert_eq!(fs::read(hub.fetch().unwrap().weights).unwrap(), weights());
}

#[test]
fn a_small_file_is_checked_against_gits_hash() {
    let hub = TinyHub::start(Content { wrong_git_hash: true, ..Content::tiny() });
    assert!(matches!(hub.fetch(), Err(HubError::Corrupt { file, .. }) if file == "config.json"));
    hub.change(|content| content.wrong_git_hash = false);
    assert_eq!(fs::read(hub.fetch().unwrap().config).unwrap(), CONFIG);
}

/// Several processes that want the same model at once: each opens the lock's file anew, as here.
#[test]
fn fetched_by_several_at_once_a_model_arrives_once_and_whole() {
    let hub = TinyHub::start(Content::tiny());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(fs::read(hub.fetch().unwrap().weights).unwrap(), weights()));
        }
    });
    assert!(hub.partial_bytes().is_empty());
    let requests = hub.requests();
    // One at the hub, and one at the storage that it redirects to.
    assert_eq!(requests.iter().filter(|request| *request == "GET model.safetensors").count(), 2, "{requests:?}");
}

/// What a process of the test below is told of the hub and the cache.
const ENDPOINT: &str = "RETUNE_TEST_HUB";
const CACHE: &str = "RETUNE_TEST_CACHE";

/// This test's own program is what the processes run: with the hub's address, it only fetches.
#[test]
fn fetched_by_several_processes_at_once_a_model_arrives_once_and_whole() {
    if let (Some(endpoint), Some(cache)) = (std::env::var_os(ENDPOINT), std::env::var_os(CACHE)) {
        let endpoint = endpoint.into_string().unwrap();
        let options = HubOptions { cache_dir: cache.into(), endpoint, token: None, offline: false };
        assert_eq!(fs::read(fetch_with(NAME, &options).unwrap().weights).unwrap(), weights());
        return;
    }
    let hub = TinyHub::start(Content::tiny());
    let test = "hub::tests::fetched_by_several_processes_at_once_a_model_arrives_once_and_whole";
    let fetching = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test]).env(ENDPOINT, &hub.endpoint).env(CACHE, hub.cache.path());
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let processes: Vec<_> = (0..4).map(|_| fetching()).collect();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
    }
    assert!(hub.partial_bytes().is_empty());
    let requests = hub.requests();
    assert_eq!(requests.iter().filter(|request| *request == "GET model.safetensors").count(), 2, "{requests:?}");
}

#[test]
fn interrupting_keeps_what_has_arrived() {
    let hub = TinyHub::start(Content::tiny());
    let result = fetch_model(&NAME.parse().unwrap(), &hub.options(), |progress| {
        let enough = progress.file == "model.safetensors" && progress.received > 0;
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(HubError::Interrupted)));
    assert!(hub.partial_bytes()[0] > 0);
    assert_eq!(fs::read(hub.fetch().unwrap().weights).unwrap(), weights());
}

#[test]
fn takes_the_pickled_weights_where_there_are_no_safetensors() {
    let mut content = Content::tiny();
    let weights = content.files.remove("model.safetensors").unwrap();
    content.files.insert("pytorch_model.bin", weights);
    let hub = TinyHub::start(content);
    let model = hub.fetch().unwrap();
    assert_eq!(model.weight_format, WeightFormat::PytorchPickle);
    assert!(model.weights.ends_with("pytorch_model.bin"));
    assert_eq!(hub.fetch().unwrap(), model);

    hub.change(|content| content.files.retain(|name, _| *name == "config.json"));
    let elsewhere = TempDir::new().unwrap();
    let options = HubOptions { cache_dir: elsewhere.path().to_owned(), ..hub.options() };
    assert_eq!(
        fetch_with(NAME, &options).unwrap_err().to_string(),
        "timm/tiny.test has no model.safetensors and no pytorch_model.bin, so it is not a model in timm's format; choose \
         a repository that `retune models` lists"
    );
}

/// A model of transformers as small as it can be, with its preprocessing.
fn of_transformers() -> Content {
    let mut content = Content::tiny();
    content.files.insert("config.json", br#"{"model_type": "vit", "image_size": 32}"#.to_vec());
    content.files.insert("preprocessor_config.json", br#"{"size": 32}"#.to_vec());
    content
}

#[test]
fn fetches_how_images_are_prepared_for_a_model_of_transformers() {
    let hub = TinyHub::start(of_transformers());
    let model = hub.fetch().unwrap();
    let file = model.directory.join("preprocessor_config.json");
    assert_eq!(fs::read_to_string(&file).unwrap(), r#"{"size": 32}"#);
    hub.requests();
    assert_eq!(hub.fetch().unwrap(), model);
    assert!(hub.requests().is_empty());

    // What transformers leaves in the cache when only its model was asked for.
    fs::remove_file(&file).unwrap();
    let offline = HubOptions { offline: true, ..hub.options() };
    assert_eq!(fetch_with(NAME, &offline).unwrap(), model);
    assert!(!file.is_file());
    assert_eq!(hub.fetch().unwrap(), model);
    assert!(file.is_file());
}

#[test]
fn asks_once_for_preprocessing_that_a_repository_does_not_have() {
    let hub = TinyHub::start(of_transformers());
    hub.change(|content| drop(content.files.remove("preprocessor_config.json")));
    let model = hub.fetch().unwrap();
    assert!(hub.requests().contains(&"HEAD preprocessor_config.json".to_owned()));
    assert_eq!(hub.fetch().unwrap(), model);
    assert!(hub.requests().is_empty());
}

#[test]
fn follows_a_renamed_repository_and_sends_the_token() {
    let hub = TinyHub::start(Content { renamed: true, token: Some("secret"), ..Content::tiny() });
    let options = HubOptions { token: Some("secret".to_owned()), ..hub.options() };
    let model = fetch_with("timm/old.test", &options).unwrap();
    assert_eq!(fs::read(model.weights).unwrap(), weights());
    assert!(!format!("{options:?}").contains("secret"));

    assert_eq!(
        hub.fetch().unwrap_err().to_string(),
        format!(
            "timm/tiny.test is gated; accept its terms at {}/timm/tiny.test and set HF_TOKEN to a token of that account",
            hub.endpoint
        )
    );
}

#[test]
fn refusals_say_what_to_do() {
    let hub = TinyHub::start(Content::tiny());
    let endpoint = hub.endpoint.clone();
    let with_token = HubOptions { token: Some("stale".to_owned()), ..hub.options() };

    assert_eq!(
        fetch_with("timm/tiny.test@v9", &hub.options()).unwrap_err().to_string(),
        "timm/tiny.test has no revision v9; leave out \"@v9\" to use its main branch"
    );
    // Without a token the hub answers 401 for a repository that does not exist.
    hub.change(|content| content.refusal = Some((401, "RepoNotFound")));
    assert_eq!(
        fetch_with("tim/tiny.test", &hub.options()).unwrap_err().to_string(),
        format!(
            "{endpoint} has no model tim/tiny.test that you may read; check the name (did you mean timm/tiny.test?), or \
             set HF_TOKEN if it is private"
        )
    );
    hub.change(|content| content.refusal = Some((404, "RepoNotFound")));
    assert!(matches!(hub.fetch(), Err(HubError::RepositoryNotFound { .. })));
    assert!(matches!(fetch_with(NAME, &with_token), Err(HubError::RepositoryNotFound { .. })));
    hub.change(|content| content.refusal = Some((401, "")));
    assert!(matches!(fetch_with(NAME, &with_token), Err(HubError::TokenRefused { status: 401, .. })));
    hub.change(|content| content.refusal = Some((403, "GatedRepo")));
    assert!(matches!(fetch_with(NAME, &with_token), Err(HubError::Gated { .. })));
    hub.change(|content| content.refusal = Some((503, "")));
    assert!(matches!(hub.fetch(), Err(HubError::Status { status: 503, .. })));
}

#[test]
fn no_server_and_no_cache_are_two_different_errors() {
    let cache = TempDir::new().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = HubOptions {
        cache_dir: cache.path().to_owned(),
        endpoint: format!("http://{closed}"),
        token: None,
        offline: false,
    };
    assert!(matches!(fetch_with(NAME, &options), Err(HubError::Network { .. })));
    let offline = HubOptions { offline: true, ..options };
    assert_eq!(
        fetch_with(NAME, &offline).unwrap_err().to_string(),
        format!(
            "timm/tiny.test is not in the cache {} and HF_HUB_OFFLINE is set; unset it, or download the model once while \
             online",
            cache.path().display()
        )
    );
}

#[test]
fn names_are_read_with_prefix_and_revision() {
    let name: ModelName = "hf-hub:timm/resnet18.a1_in1k@refs/pr/1".parse().unwrap();
    assert_eq!((name.repository(), name.revision()), ("timm/resnet18.a1_in1k", "refs/pr/1"));
    assert_eq!(name.to_string(), "timm/resnet18.a1_in1k@refs/pr/1");
    let name: ModelName = "timm/resnet18.a1_in1k".parse().unwrap();
    assert_eq!((name.revision(), name.to_string().as_str()), ("main", "timm/resnet18.a1_in1k"));
    for bad in ["", "resnet18", "timm/", "/x", "a/b/c", "../x/y", "timm/..", "timm/x@", "timm/x@../y", "t m/x"] {
        assert!(matches!(bad.parse::<ModelName>(), Err(HubError::InvalidName { .. })), "{bad}");
    }
}

#[test]
fn the_environment_is_read_by_huggingface_hubs_rules() {
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("home");
    let options = |variables: &[(&str, &str)]| {
        let variables: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HubOptions::from_variables(|name| variables.get(name).map(Into::into), Some(home.clone())).unwrap()
    };
    let plain = options(&[]);
    assert_eq!(plain.cache_dir, home.join(".cache/huggingface/hub"));
    assert_eq!(plain.endpoint, "https://huggingface.co");
    assert_eq!((plain.token, plain.offline), (None, false));

    let cache_dir = |variables: &[(&str, &str)]| options(variables).cache_dir;
    let (xdg, hf_home, cache) = (("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h"), ("HF_HUB_CACHE", "~/c"));
    assert_eq!(cache_dir(&[xdg]), Path::new("/x/huggingface/hub"));
    assert_eq!(cache_dir(&[xdg, hf_home]), Path::new("/h/hub"));
    assert_eq!(cache_dir(&[xdg, hf_home, ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
    assert_eq!(cache_dir(&[xdg, hf_home, cache, ("HUGGINGFACE_HUB_CACHE", "/old")]), home.join("c"));

    let written = folder.path().join("token");
    fs::write(&written, "from-file\n").unwrap();
    let hf_home = ("HF_HOME", folder.path().to_str().unwrap());
    assert_eq!(options(&[hf_home]).token.as_deref(), Some("from-file"));
    let token_path = ("HF_TOKEN_PATH", written.to_str().unwrap());
    assert_eq!(options(&[token_path]).token.as_deref(), Some("from-file"));
    assert_eq!(options(&[hf_home, ("HF_TOKEN", " given ")]).token.as_deref(), Some("given"));

    assert_eq!(options(&[("HF_ENDPOINT", "http://mirror/")]).endpoint, "http://mirror");
    for (value, offline) in [("1", true), ("ON", true), ("True", true), ("0", false), ("", false)] {
        assert_eq!(options(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
    }
    assert!(options(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
    assert!(HubOptions::from_variables(|_| None, None).is_err());
}
