//! The proxy for an address, from the usual environment variables, with curl's rules.
//!
//! The scheme of the address chooses `HTTPS_PROXY` or `HTTP_PROXY`; `ALL_PROXY` is used if that one is not set. Hosts
//! in `NO_PROXY` are asked directly. Each name may be in lower or upper case; the lower-case variable wins. ureq can
//! read these variables too, but it ignores the scheme, skips a proxy that it cannot parse, and does not apply
//! `example.com` in `NO_PROXY` to the hosts below it.

use ureq::Proxy;

use crate::error::{Error, Result};

/// The proxy for `url`; `None` if the host is asked directly. `variable` looks up an environment variable.
///
/// # Errors
/// `Usage` if the variable does not name a proxy.
pub(super) fn for_url(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>> {
    let either_case = |name: &str| {
        let names = [name.to_lowercase(), name.to_owned()];
        names.into_iter().find_map(|name| Some((variable(&name).filter(|value| !value.is_empty())?, name)))
    };
    let by_scheme = if url.starts_with("https:") { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    let Some((value, name)) = either_case(by_scheme).or_else(|| either_case("ALL_PROXY")) else { return Ok(None) };

    // The message leaves out the value, which may hold a password.
    let unusable = || {
        Error::usage(format!("the environment variable {name} does not name a proxy"))
            .hint("wanted: http://host:port, http://user:password@host:port or socks5h://host:port")
    };
    let given = Proxy::new(value.trim()).map_err(|_| unusable())?;
    let mut proxy = Proxy::builder(given.protocol()).host(given.host()).port(given.port());
    proxy = proxy.resolve_target(given.resolve_target());
    if let Some(user) = given.username() {
        proxy = proxy.username(user);
    }
    if let Some(password) = given.password() {
        proxy = proxy.password(password);
    }
    let direct = either_case("NO_PROXY").map(|(hosts, _)| hosts).unwrap_or_default();
    for host in direct.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        let name = host.trim_start_matches('.');
        proxy = proxy.no_proxy(name);
        if name != "*" {
            proxy = proxy.no_proxy(&format!(".{name}"));
        }
    }
    proxy.build().map(Some).map_err(|_| unusable())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_of(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        let proxy = for_url(url, find).unwrap()?;
        let asked_directly = proxy.is_no_proxy(&url.parse().unwrap());
        (!asked_directly).then(|| format!("{} {}:{}", proxy.protocol(), proxy.host(), proxy.port()))
    }

    #[test]
    fn the_scheme_chooses_the_variable_and_all_proxy_is_the_fallback() {
        let both = [("http_proxy", "http://plain:1"), ("HTTPS_PROXY", "secure:2"), ("ALL_PROXY", "socks5h://all:3")];
        assert_eq!(proxy_of("http://x.org/f", &both).unwrap(), "HTTP plain:1");
        assert_eq!(proxy_of("https://x.org/f", &both).unwrap(), "HTTP secure:2");
        assert_eq!(proxy_of("https://x.org/f", &[both[0], both[2]]).unwrap(), "SOCKS5h all:3");
        assert_eq!(proxy_of("https://x.org/f", &[both[0]]), None);
        assert_eq!(proxy_of("https://x.org/f", &[("HTTPS_PROXY", "")]), None);
    }

    #[test]
    fn no_proxy_applies_to_a_host_and_all_hosts_below_it() {
        let with = |list| [("https_proxy", "http://p:1"), ("NO_PROXY", list)];
        for list in ["x.org", ".x.org", "a.net, x.org", "*", "data.x.org"] {
            assert_eq!(proxy_of("https://data.x.org/f", &with(list)), None, "{list}");
        }
        for list in ["org.x", "ata.x.org", "x.or", "other.x.org", ""] {
            assert!(proxy_of("https://data.x.org/f", &with(list)).is_some(), "{list}");
        }
    }

    #[test]
    fn the_message_about_an_unusable_proxy_does_not_show_its_password() {
        let find = |name: &str| (name == "HTTPS_PROXY").then(|| "gopher://me:secret@host:1".to_owned());
        let error = for_url("https://x.org", find).unwrap_err().to_string();
        assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{error}");
    }
}
