//! Where the hub is, where its files are kept, and how it is reached: the environment variables of Python's
//! `huggingface_hub`, and those for proxies and certificates that other programs take.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The hub's usual address.
const ENDPOINT: &str = "https://huggingface.co";
/// The longest that a connection may say nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// How to get at the hub.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `HF_ENDPOINT`: the hub's address, without a slash at its end.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, or `hub` in `HF_HOME`: where files are kept.
    pub cache: PathBuf,
    /// `HF_TOKEN`, or the file that logging in writes.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE`: the network is not to be asked.
    pub offline: bool,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`: how long a connection may say nothing.
    pub patience: Duration,
    /// `HTTPS_PROXY` or `HTTP_PROXY`, as the endpoint's scheme is, or `ALL_PROXY`.
    pub proxy: Option<String>,
    /// `NO_PROXY`: hosts that are reached without it.
    pub no_proxy: Option<String>,
    /// `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`: certificates that are trusted beside the system's. (`SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` stand for the system's, and are read with them.)
    pub certificates: Vec<PathBuf>,
    /// Where licences of fetched repositories are noted.
    pub licences: Option<PathBuf>,
}

impl Settings {
    /// What this process's environment says.
    pub fn from_env() -> Self {
        let mut settings = Self::read(&|name| std::env::var(name).ok(), dirs::home_dir().unwrap_or_default());
        settings.licences = crate::folders::cache().map(|folder| folder.join("licences"));
        settings
    }

    /// For a file of another server than the hub: its proxy is that of the address's scheme, and it is told no token.
    pub(crate) fn for_address(url: &str) -> Self {
        let variable = |name: &str| match name {
            "HF_ENDPOINT" => Some(url.to_owned()),
            _ => std::env::var(name).ok(),
        };
        Self { token: None, ..Self::read(&variable, dirs::home_dir().unwrap_or_default()) }
    }

    /// `variable` looks a variable up; `home` is the user's.
    fn read(variable: &dyn Fn(&str) -> Option<String>, home: PathBuf) -> Self {
        let set = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| set(name));
        let is_true = |name: &str| {
            set(name).is_some_and(|v| ["1", "ON", "YES", "TRUE"].contains(&v.to_ascii_uppercase().as_str()))
        };
        let path = |text: String| match text.strip_prefix("~/") {
            Some(below) => home.join(below),
            None => PathBuf::from(text),
        };
        let hugging_face = set("HF_HOME").map(path).unwrap_or_else(|| {
            set("XDG_CACHE_HOME").map(path).unwrap_or_else(|| home.join(".cache")).join("huggingface")
        });
        let endpoint = set("HF_ENDPOINT").map_or(ENDPOINT.to_owned(), |v| v.trim_end_matches('/').to_owned());
        let proxies: &[&str] = if endpoint.starts_with("http://") {
            &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        } else {
            &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        };
        let token_file = set("HF_TOKEN_PATH").map(path).unwrap_or_else(|| hugging_face.join("token"));
        Self {
            token: first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
                .or_else(|| if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") { None } else { read_token(&token_file) }),
            cache: first(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
                .map(path)
                .unwrap_or_else(|| hugging_face.join("hub")),
            offline: is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE"),
            patience: set("HF_HUB_DOWNLOAD_TIMEOUT")
                .and_then(|v| v.parse().ok())
                .filter(|seconds| (0.001..1e6).contains(seconds))
                .map_or(PATIENCE, Duration::from_secs_f64),
            proxy: first(proxies),
            no_proxy: first(&["no_proxy", "NO_PROXY"]),
            certificates: ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
                .iter()
                .filter_map(|name| set(name))
                .map(path)
                .collect(),
            licences: None,
            endpoint,
        }
    }
}

fn read_token(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Settings {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::read(&find, PathBuf::from("/home/me"))
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        assert_eq!(with(&[]).cache, Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!(with(&[("XDG_CACHE_HOME", "/c")]).cache, Path::new("/c/huggingface/hub"));
        assert_eq!(with(&[("XDG_CACHE_HOME", "/c"), ("HF_HOME", "/h")]).cache, Path::new("/h/hub"));
        assert_eq!(with(&[("HF_HOME", "~/h")]).cache, Path::new("/home/me/h/hub"));
        assert_eq!(with(&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")]).cache, Path::new("/old"));
        let both = with(&[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")]);
        assert_eq!(both.cache, Path::new("/new"));
        assert_eq!(with(&[("HF_HUB_CACHE", "")]).cache, Path::new("/home/me/.cache/huggingface/hub"));
    }

    #[test]
    fn words_for_yes_and_what_is_none() {
        for word in ["1", "true", "Yes", "ON"] {
            assert!(with(&[("HF_HUB_OFFLINE", word)]).offline, "{word}");
        }
        for word in ["0", "false", "", "no"] {
            assert!(!with(&[("HF_HUB_OFFLINE", word)]).offline, "{word}");
        }
        assert_eq!(with(&[("HF_ENDPOINT", "https://mirror.example/")]).endpoint, "https://mirror.example");
        assert_eq!(with(&[("HF_HUB_DOWNLOAD_TIMEOUT", "0.5")]).patience, Duration::from_millis(500));
        for nonsense in ["soon", "-1", "0", "NaN", "1e300"] {
            assert_eq!(with(&[("HF_HUB_DOWNLOAD_TIMEOUT", nonsense)]).patience, PATIENCE, "{nonsense}");
        }
    }

    #[test]
    fn the_proxy_is_the_endpoint_s_scheme_s() {
        let both = [("http_proxy", "plain"), ("HTTPS_PROXY", "secure")];
        assert_eq!(with(&both).proxy.as_deref(), Some("secure"));
        let plain = [both[0], both[1], ("HF_ENDPOINT", "http://localhost:1")];
        assert_eq!(with(&plain).proxy.as_deref(), Some("plain"));
        assert_eq!(with(&[("ALL_PROXY", "socks5://s")]).proxy.as_deref(), Some("socks5://s"));
    }

    #[test]
    fn a_token_comes_from_the_variable_or_from_logging_in() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let file = home.path().to_str().unwrap();
        assert_eq!(with(&[("HF_HOME", file)]).token.as_deref(), Some("hf_file"));
        assert_eq!(with(&[("HF_HOME", file), ("HF_TOKEN", " hf_v ")]).token.as_deref(), Some("hf_v"));
        assert_eq!(with(&[("HF_HOME", file), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).token, None);
        let named = home.path().join("token");
        assert_eq!(with(&[("HF_TOKEN_PATH", named.to_str().unwrap())]).token.as_deref(), Some("hf_file"));
        assert_eq!(with(&[]).token, None);
    }
}
