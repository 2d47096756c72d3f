//! A headless Chromium, driven over WebDriver: JSON over HTTP, which needs no more than this.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::common::PATIENCE;

/// A browser with one window, and its folder.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one with a new profile.
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=WARNING"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: on Debian, apt-get install chromium chromium-driver");
        let said = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = said.filter_map(|line| {
            let (_, rest) = line.split_once("successfully on port ")?;
            rest.trim_end_matches('.').parse().ok()
        });
        let port = port.into_iter().next().expect("chromedriver names no port");
        let mut browser = Self { driver, port, session: String::new(), _profile: profile };
        let mut flags: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1280,900",
        ]
        .map(str::to_owned)
        .into();
        flags.push(format!("--user-data-dir={}", browser._profile.path().display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": flags },
            "timeouts": { "script": PATIENCE.as_millis() as u64, "pageLoad": PATIENCE.as_millis() as u64 },
        }}});
        let made = browser.call("POST", "/session", &wanted);
        browser.session = made["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// One request to the driver; the value of its answer.
    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost:{}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )
        .unwrap();
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(answer.read_line(&mut line).unwrap() > 0, "the driver has hung up");
            if let Some(number) = line.to_lowercase().strip_prefix("content-length:") {
                length = number.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut text = vec![0; length];
        answer.read_exact(&mut text).unwrap();
        let mut answer: Value = serde_json::from_slice(&text).unwrap();
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{method} {path} {body}: {value}");
        value
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("/session/{}{path}", self.session), body)
    }

    /// What only this browser can.
    #[track_caller]
    pub(crate) fn chrome(&self, command: &str, params: Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// What an expression comes to, in the page.
    #[track_caller]
    pub(crate) fn get(&self, expression: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": format!("return ({expression});"), "args": [] }))
    }

    /// The same, of text.
    #[track_caller]
    pub(crate) fn text(&self, expression: &str) -> String {
        self.get(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Waits in the page until an expression comes to something true.
    #[track_caller]
    pub(crate) fn wait(&self, expression: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; const until = Date.now() + {};
             const look = () => {{
               let value = null, error = null;
               try {{ value = ({expression}); }} catch (caught) {{ error = String(caught); }}
               if (value) done({{ value }});
               else if (Date.now() > until) done({{ late: error || document.body.innerText }});
               else setTimeout(look, 20);
             }}; look();",
            PATIENCE.as_millis() - 5000
        );
        let mut found = self.post("/execute/async", &json!({ "script": script, "args": [] }));
        assert!(
            found["late"].is_null(),
            "not so: {expression}\n{}",
            found["late"].as_str().unwrap_or_default()
        );
        found["value"].take()
    }

    /// Presses keys, one after the other.
    #[track_caller]
    pub(crate) fn press(&self, keys: &[&str]) {
        let press = |key: &&str| {
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        };
        let actions: Vec<Value> = keys.iter().flat_map(press).collect();
        self.post("/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }));
    }

    /// A window of this size, as a phone has it or a desk.
    #[track_caller]
    pub(crate) fn resize(&self, width: u32, height: u32, scale: u32, mobile: bool) {
        self.chrome(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile }),
        );
    }

    #[track_caller]
    pub(crate) fn scheme(&self, name: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": name }]);
        self.chrome("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Writes a picture of the page down to `height`.
    #[track_caller]
    pub(crate) fn picture(&self, file: &Path, width: u32, height: u32) {
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let made = self.chrome(
            "Page.captureScreenshot",
            json!({ "format": "png", "captureBeyondViewport": true, "clip": clip }),
        );
        let bytes = BASE64_STANDARD.decode(made["data"].as_str().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// What a screen reader is told: role and name of everything in the page.
    #[track_caller]
    pub(crate) fn read_aloud(&self) -> Vec<(String, String)> {
        let tree = self.chrome("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] != true);
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        // Their texts are in the names of what holds them.
        let all = nodes.map(|node| (text(&node["role"]), text(&node["name"])));
        all.filter(|(role, _)| !matches!(role.as_str(), "StaticText" | "InlineTextBox")).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session, and outlives a driver that is killed; also where the test has failed.
        if !self.session.is_empty() {
            let end = || self.call("DELETE", &format!("/session/{}", self.session), &json!({}));
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(end));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
