//! Addresses: which are taken, where a redirection leads, and what of one may be shown.

/// The scheme of an address, in small letters; none if `text` is no address.
pub fn scheme(text: &str) -> Option<String> {
    let (scheme, _) = text.split_once("://")?;
    is_scheme(scheme).then(|| scheme.to_ascii_lowercase())
}

/// An address without what may be a secret: the part before the host's `@`, and what stands behind `?`.
pub fn shown(address: &str) -> String {
    let address = match address.split_once(['?', '#']) {
        Some((before, _)) => format!("{before}?…"),
        None => address.to_owned(),
    };
    let Some(host) = address.find("://").map(|scheme| scheme + 3) else { return address };
    let end = address[host..].find('/').map_or(address.len(), |end| host + end);
    match address[host..end].rfind('@') {
        Some(at) => format!("{}…{}", &address[..host], &address[host + at..]),
        None => address,
    }
}

/// Where `next` leads from `url`, by RFC 3986: an answer may name an address whole or in part.
///
/// # Errors
/// What is wrong with it: another scheme, or none of the safety that `url` has and `plain` does not give up.
pub(crate) fn redirected(url: &str, next: &str, plain: bool) -> Result<String, String> {
    let next = joined(url, next);
    match (scheme(url).as_deref(), scheme(&next).as_deref()) {
        (Some("https"), Some("http")) if !plain => {
            Err(format!("sends from https to {}, where anybody on the way could change it", shown(&next)))
        }
        (_, Some("http" | "https")) => Ok(next),
        _ => Err(format!("sends to {}, which is no address of http or https", shown(&next))),
    }
}

fn joined(url: &str, next: &str) -> String {
    let next = next.split('#').next().unwrap_or_default();
    if next.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme)) {
        return next.to_owned();
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    if next.starts_with("//") {
        return format!("{scheme}:{next}");
    }
    let (rest, query) = rest.find(['?', '#']).map_or((rest, ""), |end| rest.split_at(end));
    let (host, path) = rest.find('/').map_or((rest, "/"), |end| rest.split_at(end));
    let (below, next_query) = next.find('?').map_or((next, ""), |end| next.split_at(end));
    let path = match below {
        "" if next_query.is_empty() => format!("{path}{}", query.split('#').next().unwrap_or_default()),
        "" => path.to_owned(),
        _ if below.starts_with('/') => without_dots(below),
        _ => without_dots(&format!("{}{below}", &path[..=path.rfind('/').unwrap_or(0)])),
    };
    format!("{scheme}://{host}{path}{next_query}")
}

/// A path without `.` and `..`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(part),
        }
    }
    let is_folder = ["/.", "/.."].iter().any(|end| path.ends_with(end));
    format!("/{}{}", kept.join("/"), if is_folder && !kept.is_empty() { "/" } else { "" })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes() {
        assert_eq!(scheme("HTTPS://a").as_deref(), Some("https"));
        assert_eq!(scheme("file:///a").as_deref(), Some("file"));
        for path in ["", "a.zip", "C:\\a.zip", "./a://b", "://a"] {
            assert_eq!(scheme(path), None, "{path}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (address, expected) in [
            ("http://me:secret@host:80/a.zip", "http://…@host:80/a.zip"),
            ("http://me:se@cret@host", "http://…@host"),
            ("https://host/a@b.zip?token=secret", "https://host/a@b.zip?…"),
            ("https://host?token=me@secret", "https://host?…"),
            ("https://host/a.zip", "https://host/a.zip"),
            ("bundles.zip", "bundles.zip"),
        ] {
            assert_eq!(shown(address), expected);
        }
    }

    #[test]
    fn where_redirections_lead() {
        for (next, expected) in [
            ("https://store.example/x", "https://store.example/x"),
            ("//store.example/x", "https://store.example/x"),
            ("/x", "https://me@host.example/x"),
            ("/x/./../y?a=../b", "https://me@host.example/y?a=../b"),
            ("x.zip", "https://me@host.example/a/x.zip"),
            ("./x.zip#part", "https://me@host.example/a/x.zip"),
            ("../x.zip", "https://me@host.example/x.zip"),
            ("../../../x.zip", "https://me@host.example/x.zip"),
            ("..", "https://me@host.example/"),
            ("?d", "https://me@host.example/a/b?d"),
            ("", "https://me@host.example/a/b?c=/d"),
            (".evil.example/x", "https://me@host.example/a/.evil.example/x"),
        ] {
            assert_eq!(redirected("https://me@host.example/a/b?c=/d", next, false).as_deref(), Ok(expected), "{next}");
        }
        assert_eq!(redirected("http://host", "x", false).as_deref(), Ok("http://host/x"));
    }

    #[test]
    fn no_redirection_gives_up_safety() {
        let (safe, plain) = ("https://host/a", "http://other/b?token=secret");
        let error = redirected(safe, plain, false).unwrap_err();
        assert!(error.contains("from https to http://other/b") && !error.contains("secret"), "{error}");
        assert_eq!(redirected(safe, plain, true).as_deref(), Ok(plain));
        assert!(redirected("http://host/a", plain, false).is_ok());
        for next in ["file:///etc/passwd", "javascript:1", "host:80/x"] {
            assert!(redirected(safe, next, true).unwrap_err().contains("no address of http"), "{next}");
        }
    }
}
