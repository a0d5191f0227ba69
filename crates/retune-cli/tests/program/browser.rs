//! Headless Chromium, driven through ChromeDriver (<https://www.w3.org/TR/webdriver2/>).

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Browser {
    driver: Child,
    /// Kept open, for the driver to write to.
    _output: BufReader<ChildStdout>,
    address: String,
    agent: ureq::Agent,
    /// Where the browser keeps its profile, which it leaves behind.
    _files: TempDir,
}

impl Browser {
    /// `None`, after saying so, where no browser is installed; in CI that is a failure.
    pub fn start() -> Option<Self> {
        let files = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("TMPDIR", files.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut driver) = command.spawn() else {
            assert!(std::env::var_os("CI").is_none(), "CI needs chromium and chromedriver");
            eprintln!("skipped: chromium and chromedriver are not installed");
            return None;
        };
        let mut output = BufReader::new(driver.stdout.take().unwrap());
        let port: u16 = output
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split("started successfully on port ").nth(1)?.trim_end_matches('.').parse().ok())
            .expect("chromedriver says its port");
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut browser = Self {
            driver,
            _output: output,
            address: format!("http://127.0.0.1:{port}/session"),
            agent: ureq::Agent::new_with_config(config),
            _files: files,
        };
        // Pages that scroll smoothly would still be on their way when a pointer arrives.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1280,1000",
            "--force-prefers-reduced-motion",
        ];
        let options = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let session = browser.post("", &json!({ "capabilities": { "alwaysMatch": options } }));
        browser.address = format!("{}/{}", browser.address, session["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        let request = self.agent.post(format!("{}{command}", self.address)).header("content-type", "application/json");
        let text = request.send(body.to_string()).unwrap().body_mut().read_to_string().unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer["value"]["error"].is_null(), "{command} {body}: {text}");
        answer["value"].clone()
    }

    pub fn open(&self, page: &Path) {
        self.post("/url", &json!({ "url": format!("file://{}", page.display()) }));
    }

    /// What a function's body returns in the page.
    pub fn script(&self, body: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// What a function's body hands to the function that is its only argument.
    pub fn asynchronous_script(&self, body: &str) -> Value {
        self.post("/execute/async", &json!({ "script": body, "args": [] }))
    }

    /// Makes the window as wide and high as this, in pixels of CSS, for a reader who prefers light or dark pages.
    pub fn look(&self, [width, height]: [u64; 2], theme: &str) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let features = json!([
            { "name": "prefers-color-scheme", "value": theme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        for (command, parameters) in [
            ("Emulation.setDeviceMetricsOverride", metrics),
            ("Emulation.setEmulatedMedia", json!({ "media": "", "features": features })),
        ] {
            self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
        }
    }

    /// Lays the page out as on paper, until the next look.
    pub fn as_if_printed(&self) {
        let parameters = json!({ "media": "print" });
        self.post("/goog/cdp/execute", &json!({ "cmd": "Emulation.setEmulatedMedia", "params": parameters }));
    }

    /// The window as a PNG file.
    pub fn screenshot(&self) -> Vec<u8> {
        use base64::Engine;
        let request = self.agent.get(format!("{}/screenshot", self.address));
        let text = request.call().unwrap().body_mut().with_config().limit(1 << 28).read_to_string().unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        base64::engine::general_purpose::STANDARD.decode(answer["value"].as_str().unwrap()).unwrap()
    }

    /// The value of an expression once it is neither false nor null.
    pub fn wait_for(&self, expression: &str) -> Value {
        for _ in 0..200 {
            let value = self.script(&format!("return {expression}"));
            if !value.is_null() && value != false {
                return value;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let state = self.script("return `theme ${document.documentElement.dataset.theme}, scrolled ${scrollY}, active ${document.activeElement.outerHTML.slice(0, 200)}`");
        panic!("never came: {expression}; {state}");
    }

    pub fn move_pointer(&self, x: f64, y: f64) {
        let step = json!({ "type": "pointerMove", "duration": 0, "x": x.round() as i64, "y": y.round() as i64 });
        self.pointer(&[step]);
    }

    fn pointer(&self, steps: &[Value]) {
        let pointer =
            json!({ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": steps });
        self.post("/actions", &json!({ "actions": [pointer] }));
    }

    pub fn tap(&self, x: f64, y: f64) {
        let steps = json!([
            { "type": "pointerMove", "duration": 0, "x": x.round() as i64, "y": y.round() as i64 },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ]);
        let finger =
            json!({ "type": "pointer", "id": "finger", "parameters": { "pointerType": "touch" }, "actions": steps });
        self.post("/actions", &json!({ "actions": [finger] }));
    }

    pub fn press(&self, key: &str) {
        let steps = [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        self.post("/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": steps }] }));
    }

    /// Clicks on the first element that a selector finds; fails where something lies over it.
    pub fn click(&self, selector: &str) {
        self.show(selector);
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.post(&format!("/element/{id}/click"), &json!({}));
    }

    /// Scrolls the first element that a selector finds into the middle, and waits until the page has been drawn so:
    /// a pointer acts on what was drawn last, which on a busy machine may still be the page before it scrolled.
    pub fn show(&self, selector: &str) {
        let body = format!(
            "const done = arguments[0];
             document.querySelector({selector:?}).scrollIntoView({{ block: 'center', behavior: 'instant' }});
             requestAnimationFrame(() => requestAnimationFrame(() => done(true)))"
        );
        self.post("/execute/async", &json!({ "script": body, "args": [] }));
    }

    /// What the console was told since this was last asked.
    pub fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }));
        entries.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Addresses that were asked for since this was last asked.
    pub fn requests(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "performance" }));
        let events = entries.as_array().unwrap().iter().map(|entry| {
            let event: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            event["message"].clone()
        });
        events
            .filter(|event| event["method"] == "Network.requestWillBeSent")
            .map(|event| event["params"]["request"]["url"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with the session; a failed test must not hang on either.
        let _ = self.agent.delete(&self.address).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
